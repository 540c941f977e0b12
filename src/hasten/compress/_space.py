"""A space of networks: its points, the network at a point, and what it takes over from one that is trained."""

import copy
import itertools
import random
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from hasten.errors import InputError, NotApplicable
from hasten.model import TorchModel

if TYPE_CHECKING:
    import torch

    from hasten.task import Task

Point = dict[str, Any]  # keyword of the builder -> one of the choices


def points(task: "Task", seed: int) -> list[Point]:
    """All of them, in an order that is drawn.

    Raises:
        NotApplicable: the task has none.
    """
    if not task.space:
        raise NotApplicable("nas has nothing to do: the task has no space of networks", "give it a builder and a space")
    every = [dict(zip(task.space, chosen, strict=True)) for chosen in itertools.product(*task.space.values())]
    random.Random(seed).shuffle(every)
    return every


def network(task: "Task", point: Mapping[str, Any], seed: int = 0) -> TorchModel:
    """The network at a point, with weights that are drawn.

    Raises:
        InputError: it is not a point of the space, the builder fails, or inputs or outputs are not the original's.
    """
    import torch

    choices = task.space
    if task.builder is None or point.keys() != choices.keys() or any(v not in choices[k] for k, v in point.items()):
        raise InputError(f"{dict(point)} is no point of the task's space", "give the task that was searched")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = task.built(partial(task.builder, **point), f"network {dict(point)}")
    if made.signature != task.original.signature:
        raise InputError(f"the network {dict(point)} is {made.signature}", f"the original is {task.original.signature}")
    return made


def inherited(model: TorchModel, original: "torch.nn.Module") -> TorchModel:
    """The same network with the weights of the original's layers of the same name, as far as both reach.

    Of channels the first are taken, of kernels the middle; what a larger kernel has around it is zero.
    """
    module, theirs = copy.deepcopy(model.module), original.state_dict()
    for name, mine in module.state_dict().items():
        his = theirs.get(name)
        if his is None or not mine.ndim or his.ndim != mine.ndim or not mine.is_floating_point():
            continue
        here, there = zip(*map(_shared, mine.shape, his.shape, range(mine.ndim)), strict=True)
        if mine.ndim > 2:
            mine[here[:2]] = 0.0
        mine[here] = his[there]
    return TorchModel(module.eval(), model.signature)


def _shared(mine: int, his: int, axis: int) -> tuple[slice, slice]:
    """Where each of two lengths has what both have: at the front, of a kernel's axes in the middle."""
    n = min(mine, his)
    if axis < 2:
        return slice(n), slice(n)
    return slice((mine - n) // 2, (mine - n) // 2 + n), slice((his - n) // 2, (his - n) // 2 + n)
