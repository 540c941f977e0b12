"""Small forests, fitted in a moment, and the task of telling quadrants apart by the sums of rows and columns."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from tiny import tiny_data

from hasten.data import Data
from hasten.task import Task


def features(n: int, seed: int) -> Data:
    """Input `features` f32 [n, 16], target int64 [n]: of the tiny images, means of rows and of columns."""
    image = tiny_data(n, seed)
    pixels = image.inputs["image"][:, 0]
    return Data({"features": np.concatenate([pixels.mean(1), pixels.mean(2)], 1)}, image.target)


def fitted(estimator: Any = None, n: int = 300) -> Any:
    data = features(n, 1)
    made = RandomForestClassifier(12, random_state=0) if estimator is None else estimator
    return made.fit(data.inputs["features"], data.target)


def quadrants(build: Callable[[], Any], **changed: Any) -> Task:
    """In all four parts."""
    made = build()
    train, calibrate, validate, test = (features(n, seed) for n, seed in ((300, 1), (64, 2), (200, 3), (400, 4)))
    parts = {"calibrate": calibrate, "validate": validate, "test": test, "train": train}
    return Task(**({"name": "trees", "model": lambda: made, "metric": "top1"} | parts | changed))
