"""Do three networks know more than the best of them, and does a student of the three keep it?

python benchmarks/ensembles.py [--epochs N]
"""

import argparse
from dataclasses import replace
from functools import partial

import numpy as np

from made import example, made
from hasten.data import Data
from hasten.model import OnnxModel
from hasten.task import Task

NET = {"width": 16, "depth": 1, "kernel": 3, "stride": 2}  # of the task's space: 2.3 MMACs
MEMBERS, SHIFT = 3, 2  # pixels


def wider() -> Task:
    """The fashion task whose images are seen as they are, mirrored, and each of these shifted: 200,000 to train on."""
    task = example("fashion/task.py")
    assert task.builder is not None
    net = partial(task.builder, **NET)
    return replace(task, name="fashion-wider", train=lambda: _views(task.raw("train")), students={"quick": net})


def _views(data: Data) -> Data:
    images, rng = data.inputs["image"], np.random.default_rng(0)
    assert data.target is not None
    plain = [images, images[:, :, ::-1]]
    every = np.concatenate([*plain, *(_shifted(view, rng) for view in plain)])
    return Data({"image": every}, np.concatenate([data.target] * 4))


def _shifted(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image [N, H, W] by up to SHIFT pixels either way, with black at the edges."""
    padded = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, images.shape[1:], axis=(1, 2))
    rows, columns = rng.integers(0, 2 * SHIFT + 1, (2, len(images)))
    return np.ascontiguousarray(windows[np.arange(len(images)), rows, columns])


def member(task: Task, seed: int, epochs: int) -> OnnxModel:
    """A network trained towards labels alone."""
    return made(task, f"distil(student=quick, epochs={epochs}, teacher=0, seed={seed})")
