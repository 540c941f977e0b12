"""The example of trees: its parts are what they say, and its forest is fitted."""

from pathlib import Path

import numpy as np

from hasten import Task

TASK = Path(__file__).parents[2] / "examples" / "trees" / "task.py"
SIZES = {"train": 1000, "calibrate": 256, "validate": 297, "test": 500}


def test_its_parts_do_not_overlap_and_its_forest_has_learnt() -> None:
    task = Task.load(TASK)
    parts = {part: task.raw(part) for part in SIZES}  # type: ignore[arg-type]
    assert {part: len(data) for part, data in parts.items()} == SIZES
    rows = {part: {x.tobytes() for x in data.inputs["pixels"]} for part, data in parts.items()}
    assert not rows["train"] & (rows["validate"] | rows["test"])
    assert not rows["validate"] & rows["test"]
    assert rows["calibrate"] <= rows["train"]
    test = parts["test"]
    assert np.mean(task.model().predict(test.inputs["pixels"]) == test.target) > 0.95  # type: ignore[operator]
