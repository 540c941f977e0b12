"""Networks that a recipe makes of an example, kept in out/made, and what they have right of its test data.

A file is known by the network, the samples that are used and the recipe: who changes hasten itself removes out/made.
"""

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from commands import ROOT
from hasten import find
from hasten.model import OnnxModel
from hasten.recipe import Recipe
from hasten.task import Task

BATCH = 500
MINUTES = "minutes to make it"  # among a file's metadata


def made(task: Task, recipe: str) -> OnnxModel:
    """The ONNX model that `recipe` gives, made once for this task file and these weights."""
    steps = Recipe.parse(recipe)
    few = f"\n{sorted(task.at_most.items())}" if task.at_most else ""
    key = hashlib.sha256(f"{task.original.digest()}\n{steps}{few}".encode()).hexdigest()[:16]
    path = ROOT / "out" / "made" / f"{task.name}-{key}.onnx"
    if not path.exists():
        began = time.monotonic()
        model = steps(task.original, task)
        minutes = (time.monotonic() - began) / 60
        model.noted(MINUTES, f"{minutes:.2f}").save(path)
        print(f"{task.name}: {recipe} took {minutes:.1f} min", flush=True)
    return OnnxModel.load(path)


def minutes(*models: OnnxModel) -> float:
    """What making these took, whenever that was."""
    return sum(float(model.metadata[MINUTES]) for model in models)


def right(
    task: Task, model: OnnxModel, engine: str = "onnxruntime", settings: Mapping[str, Any] | None = None
) -> np.ndarray:
    """1.0 for each test sample [N] whose class it tells."""
    data = task.split("test")
    with find.engine(engine)(**settings or {}).compile(model) as session:
        parts = [np.asarray(next(iter(session(feed).values()))) for feed in data.batches(BATCH)]
    return (np.concatenate(parts)[: len(data)].argmax(1) == data.target).astype(float)


def example(place: str) -> Task:
    """The task file examples/`place`."""
    return Task.load(Path(ROOT / "examples" / place))
