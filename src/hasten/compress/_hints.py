"""What a student can learn of a teacher beside its answers: inner features, and where they are strong."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from hasten.compress._learner import watch
from hasten.data import Data
from hasten.errors import NotApplicable
from hasten.model import TorchModel

PAIRS = 3  # of layers, at most


@dataclass(frozen=True)
class _Layer:
    """A layer that runs once: the axis of its channels, how many they are, and its other lengths without the batch."""

    name: str
    axis: int
    channels: int
    places: tuple[int, ...]


class Hints:
    """Pairs of layers, and the distance between what they give (a `Hint` of the training loop)."""

    def __init__(self, student: TorchModel, teacher: TorchModel, data: Data, features: float, attention: float) -> None:
        """
        Args:
            data: real samples, of which one call is run.
            features: weight of the mean square between features, of which the student's go through a linear adapter
                (Romero et al. 2015), in units of the teacher's variance.
            attention: weight of the square distance between maps (Zagoruyko and Komodakis 2017).

        Raises:
            NotApplicable: no two layers give as many places.
        """
        size = 2 if student.signature.batch else student.signature.fixed_batch
        feed = [
            torch.from_numpy(np.resize(data.inputs[t.name], (size, *t.shape[1:]))) for t in student.signature.inputs
        ]
        pairs = _paired(_layers(student.module, feed), _layers(teacher.module, feed))
        if not pairs:
            raise NotApplicable("no layer of the student gives features of the size that one of the teacher's gives")
        self.layers: Sequence[str] = [mine.name for mine, _ in pairs]
        self.module: nn.Module = _Distance(teacher.module, pairs, features, attention)


class _Distance(nn.Module):
    """The teacher runs inside, without gradients and out of the reach of the optimizer."""

    def __init__(
        self, teacher: nn.Module, pairs: Sequence[tuple[_Layer, _Layer]], features: float, attention: float
    ) -> None:
        super().__init__()
        self.adapters = nn.ModuleList(
            nn.Linear(mine.channels, his.channels, bias=False) for mine, his in pairs if features
        )
        self._pairs, self._weights = pairs, (features, attention)
        self._seen: dict[str, torch.Tensor] = {}
        self._teacher = [copy.deepcopy(teacher).eval()]  # in a list: its weights are none of this module's
        watch(self._teacher[0], [his.name for _, his in pairs], self._seen)

    def extra_repr(self) -> str:
        return f"weights={self._weights}"  # a training that was interrupted goes on with the same ones alone

    def forward(self, features: Sequence[torch.Tensor], feed: Sequence[torch.Tensor]) -> torch.Tensor:
        self._seen.clear()
        with torch.no_grad():
            self._teacher[0].to(feed[0].device)(*feed)
        total = feed[0].new_zeros((), dtype=torch.float32)
        for place, (mine, his) in enumerate(self._pairs):
            own = features[place].movedim(mine.axis, -1).float()
            wanted = self._seen[his.name].movedim(his.axis, -1).float()
            if self._weights[0]:
                distance = nn.functional.mse_loss(self.adapters[place](own).float(), wanted)
                total = total + self._weights[0] * distance / wanted.var().clamp_min(1e-6)
            if self._weights[1]:
                total = total + self._weights[1] * (_map(own) - _map(wanted)).square().sum(1).mean()
        return total / len(self._pairs)


def _map(features: torch.Tensor) -> torch.Tensor:
    """Where features [B, ..., C] are strong, as unit vectors [B, places]."""
    return nn.functional.normalize(features.square().mean(-1).flatten(1), dim=1)


def _layers(module: nn.Module, feed: Sequence[torch.Tensor]) -> list[_Layer]:
    """Convolutions and linear layers that run once, in that order; the last one answers, and is left out."""
    seen: dict[str, list[torch.Tensor]] = {}

    def hook(name: str, layer: nn.Module) -> torch.utils.hooks.RemovableHandle:
        return layer.register_forward_hook(lambda _, given, made: seen.setdefault(name, []).append(made))

    kinds = (nn.modules.conv._ConvNd, nn.Linear)
    hooks = [hook(name, layer) for name, layer in module.named_modules() if isinstance(layer, kinds)]
    try:
        with torch.no_grad():
            module.eval()(*feed)
    finally:
        for handle in hooks:
            handle.remove()
    found = []
    for name, made in seen.items():
        if len(made) == 1 and made[0].ndim > 1:
            axis = made[0].ndim - 1 if isinstance(module.get_submodule(name), nn.Linear) else 1
            places = tuple(n for i, n in enumerate(made[0].shape) if i not in (0, axis))
            found.append(_Layer(name, axis, made[0].shape[axis], places))
    return found[:-1]


def _paired(student: list[_Layer], teacher: list[_Layer]) -> list[tuple[_Layer, _Layer]]:
    """Layers of as many places at the nearest depth; a few of them, evenly spread over the student."""
    found = []
    for i, mine in enumerate(student):
        depth = (i + 1) / len(student)
        alike = [(abs((j + 1) / len(teacher) - depth), j) for j, his in enumerate(teacher) if his.places == mine.places]
        if alike:
            found.append((mine, teacher[min(alike)[1]]))
    if not found:
        return []
    last: dict[str, tuple[_Layer, _Layer]] = {his.name: (mine, his) for mine, his in found}  # each teacher's layer once
    once = list(last.values())
    return [once[i] for i in sorted({round(i) for i in np.linspace(0, len(once) - 1, min(PAIRS, len(once)))})]
