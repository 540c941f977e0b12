"""Networks that a recipe makes of an example, kept in out/made, and what they have right of its test data."""

import hashlib
import time
from pathlib import Path

import numpy as np

from commands import ROOT
from hasten import find
from hasten.model import OnnxModel
from hasten.recipe import Recipe
from hasten.task import Task

BATCH = 500


def made(task: Task, recipe: str) -> OnnxModel:
    """The ONNX model that `recipe` gives, made once for this task file and these weights."""
    steps = Recipe.parse(recipe)
    key = hashlib.sha256(f"{task.original.digest()}\n{steps}".encode()).hexdigest()[:16]
    path = ROOT / "out" / "made" / f"{task.name}-{key}.onnx"
    if not path.exists():
        began = time.monotonic()
        steps(task.original, task).save(path)
        print(f"{task.name}: {recipe} took {(time.monotonic() - began) / 60:.1f} min", flush=True)
    return OnnxModel.load(path)


def right(task: Task, model: OnnxModel, engine: str = "onnxruntime") -> np.ndarray:
    """1.0 for each test sample [N] whose class it tells."""
    data = task.split("test")
    with find.engine(engine)().compile(model) as session:
        parts = [np.asarray(next(iter(session(feed).values()))) for feed in data.batches(BATCH)]
    return (np.concatenate(parts)[: len(data)].argmax(1) == data.target).astype(float)


def example(place: str) -> Task:
    """The task file examples/`place`."""
    return Task.load(Path(ROOT / "examples" / place))
