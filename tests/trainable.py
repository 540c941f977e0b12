"""Small networks to train and to cut, and the task of telling quadrants apart."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from tiny import CLASSES, tiny_data
from torch import nn

from hasten.task import Task


def loss(outputs: dict[str, torch.Tensor], target: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(next(iter(outputs.values())), target)


def quadrants(build: Callable[[], nn.Module], **changed: Any) -> Task:
    """The tiny data in all four parts."""
    train, calibrate, validate, test = (tiny_data(n, seed) for n, seed in ((256, 1), (64, 2), (200, 3), (200, 4)))
    task = Task("quadrants", build, "top1", calibrate, validate, test, train, loss)
    return replace(task, **changed) if changed else task


def convolutions(width: int = 16, seed: int = 0) -> nn.Sequential:
    """Two convolutions without batch norm, pooled to 2x2."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, CLASSES),
    )  # fmt: skip


def accuracy(task: Task, module: nn.Module) -> float:
    from hasten.engines.torch import call

    data = task.split("test")
    return float(task.measure.rows(call(module, data.inputs), data.target).mean())
