"""scikit-learn's digits and a random forest, fitted when it is asked for: no network, and no torch.

    hasten boost examples/trees/task.py -o out/trees --max-drop 0.03 --engine onnxruntime

1,000 digits of 8x8 pixels train, 297 validate, 500 test. So few can vouch for two points at the best.
"""

from functools import cache

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

from hasten import Data, Task

PARTS = {"train": slice(1000), "validate": slice(1000, 1297), "test": slice(1297, None)}


@cache
def shuffled() -> tuple[np.ndarray, np.ndarray]:
    """Pixels f32 [1797, 64] and labels int64 [1797], in an order that is always the same."""
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(pixels))
    return pixels[order].astype(np.float32), labels[order]


def digits(part: str) -> Data:
    """Input `pixels` f32 [N, 64], target int64 [N]: the place of the class in the estimator's `classes_`."""
    pixels, labels = shuffled()
    return Data({"pixels": pixels[PARTS[part]]}, labels[PARTS[part]])


def fitted() -> RandomForestClassifier:
    train = digits("train")
    return RandomForestClassifier(200, random_state=0).fit(train.inputs["pixels"], train.target)


task = Task(
    "trees",
    fitted,
    metric="top1",
    train=lambda: digits("train"),
    calibrate=lambda: digits("train").take(slice(0, 256)),
    validate=lambda: digits("validate"),
    test=lambda: digits("test"),
)
