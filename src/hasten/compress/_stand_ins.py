"""Layers in whose place others stand, and the numbers of those that need some."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from hasten.compress import _forms
from hasten.compress._adapting import answers
from hasten.compress._calls import answering
from hasten.compress._places import exchanged
from hasten.model import TorchModel

if TYPE_CHECKING:
    from hasten.task import Task

SAMPLES, BATCH = 512, 64  # of the calibration data, and of a run


def standing(module: nn.Module, layers: Mapping[str, Sequence[Any]], calls: Mapping[str, Sequence[Any]]) -> nn.Module:
    """A copy in which these forms stand for the layers of those names, and for those calls of functions."""
    for name in layers:
        module.get_submodule(name)
    made = exchanged(module, {name: _forms.built(form).eval() for name, form in layers.items()})
    return answering(made, answers(calls)) if calls else made


def calibrated(made: TorchModel, before: TorchModel, layers: Mapping[str, Sequence[Any]], task: "Task") -> TorchModel:
    """With batch norms whose channels have the mean and spread that the norms before them gave, on calibration data."""
    norms = [name for name, (kind, _) in layers.items() if kind.endswith("BatchNorm") or kind.startswith("BatchNorm")]
    if not norms:
        return made
    feeds = list(_feeds(before, task))
    wanted = _given(before.module, norms, feeds)
    module = copy.deepcopy(made.module).eval()
    for name in norms:
        norm, (mean, spread) = module.get_submodule(name), wanted[name]
        assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
        sign = torch.ones_like(spread)
        if isinstance(factor := getattr(before.module.get_submodule(name), "weight", None), torch.Tensor):
            sign = torch.where(factor < 0, -1.0, 1.0)
        with torch.no_grad():
            norm.weight.copy_(sign * spread)
            norm.bias.copy_(mean)
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all runs
        norm.train()
    with torch.no_grad():
        for feed in feeds:
            module(*feed)
    for name in norms:
        norm = module.get_submodule(name)
        assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
        norm.momentum = 0.1
    return replace(made, module=module.eval())


def _feeds(model: TorchModel, task: "Task") -> Iterator[tuple[torch.Tensor, ...]]:
    """Calibration samples, a run at a time."""
    data = task.split("calibrate")
    size = BATCH if model.signature.batch else model.signature.fixed_batch
    rows = np.linspace(0, len(data) - 1, min(SAMPLES, len(data))).round().astype(int)
    rows = np.resize(rows, -(-len(rows) // size) * size)
    for part in rows.reshape(-1, size):
        yield tuple(torch.from_numpy(np.ascontiguousarray(data.inputs[t.name][part])) for t in model.signature.inputs)


def _given(
    module: nn.Module, names: Sequence[str], feeds: Sequence[tuple[torch.Tensor, ...]]
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Mean and spread of each channel that these layers give."""
    sums: dict[str, list[torch.Tensor]] = {}

    def hook(name: str) -> Any:
        def noted(layer: nn.Module, given: Any, answer: torch.Tensor) -> None:
            axis = answer.ndim - 1 if isinstance(layer, nn.LayerNorm) else 1
            rows = answer.movedim(axis, 0).flatten(1).double()
            ours = [torch.tensor(float(rows.shape[1])), rows.sum(1), rows.square().sum(1)]
            sums[name] = [a + b for a, b in zip(sums[name], ours, strict=True)] if name in sums else ours

        return noted

    module = copy.deepcopy(module).eval()
    for name in names:
        module.get_submodule(name).register_forward_hook(hook(name))
    with torch.inference_mode():
        for feed in feeds:
            module(*(t.clone() for t in feed))
    found = {}
    for name, (count, total, squares) in sums.items():
        mean = total / count
        spread = (squares / count - mean.square()).clamp_min(1e-12).sqrt()
        found[name] = (mean.float().clone(), spread.float().clone())
    return found
