"""The demo: 5,000 MNIST digits and a small residual network, trained by the train.py beside this file.

    hasten boost examples/digits/task.py -o out/digits --max-drop 0.01

3,250 digits train, 512 of them calibrate, 750 validate, 1,000 test. One point is what this many digits can vouch for:
a candidate is admitted by the upper end of its 95 % interval, and on 750 images three more errors than before
already put that end near one point, on top of a drop of 0.4.
"""

from pathlib import Path

from data import PIPELINE, read
from net import DigitsNet

from hasten import Data, Task


def digits(part: str, most: int | None = None) -> Data:
    """Input `image` as it is, uint8 [N, 28, 28], target int64 [N]."""
    images, labels = read(part)
    return Data({"image": images[:most]}, labels[:most])


def trained() -> DigitsNet:
    from safetensors.torch import load_file

    net = DigitsNet()
    net.load_state_dict(load_file(Path(__file__).with_name("digits.safetensors")))
    return net


def loss(outputs, target):
    """Cross-entropy of the logits f32 [N, 10]."""
    from torch.nn import functional

    return functional.cross_entropy(next(iter(outputs.values())), target)


task = Task(
    "digits",
    trained,
    metric="top1",
    train=lambda: digits("train"),
    calibrate=lambda: digits("train", 512),
    validate=lambda: digits("validate"),
    test=lambda: digits("test"),
    loss=loss,
    pipeline=PIPELINE,
)
