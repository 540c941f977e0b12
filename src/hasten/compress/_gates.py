"""Gates on the channels of a layer, chosen for each input."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hasten.compress._places import Convolution, Place, exchanged
from hasten.engines.torch import call
from hasten.model import Arrays

APART = 0.1  # how far gates are from one before they are trained: by their filters' strength, and by the input


class Gated(nn.Module):
    """A convolution whose channels are multiplied by how salient they are for this input; the least salient are silent.

    Saliency is told from the mean magnitude of each channel that comes in, before the convolution would run.
    """

    def __init__(self, layer: Convolution, ratio: float) -> None:
        super().__init__()
        self.layer = copy.deepcopy(layer)
        self.saliency = nn.Linear(layer.in_channels, layer.out_channels)
        self.kept = max(1, round((1 - ratio) * layer.out_channels))
        with torch.no_grad():
            self.saliency.weight.mul_(APART)
            strength = layer.weight.flatten(1).norm(dim=1)
            self.saliency.bias.copy_(1 + APART * torch.linspace(-1, 1, len(strength))[strength.argsort().argsort()])

    def gates(self, x: torch.Tensor) -> torch.Tensor:
        """[N, channels, ...] -> of each channel that goes out, [N, channels]; 0 is silent."""
        salient = torch.relu(self.saliency(x.abs().flatten(2).mean(2)))
        edge = torch.topk(salient, self.kept, 1).values[:, -1:]
        return salient * (salient >= edge)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gates = self.gates(x)
        made: torch.Tensor = self.layer(x) * gates.reshape(*gates.shape, *(1,) * (x.ndim - 2))
        return made


def gated(module: nn.Module, places: Iterable[Place], ratio: float) -> nn.Module:
    """A copy of the network in which these layers have gates."""
    chains = {p.name: Gated(cast(Convolution, p.layer), ratio) for p in places}
    return exchanged(module, chains)


def silent(module: nn.Module, places: Sequence[Place], feeds: Iterable[Arrays], whole: int) -> float:
    """Share of a call's multiply-adds, `whole` in all, that belong to silent channels."""
    found: dict[str, list[float]] = {p.name: [] for p in places}
    module = copy.deepcopy(module).eval()
    for name, seen in found.items():
        layer = module.get_submodule(name)
        assert isinstance(layer, Gated)

        def hook(one: Gated, given: tuple[torch.Tensor, ...], seen: list[float] = seen) -> None:
            seen.append(float((one.gates(given[0]) == 0).float().mean()))

        layer.register_forward_pre_hook(hook)
    for feed in feeds:
        call(module, feed)
    means: Mapping[str, float] = {name: sum(seen) / max(1, len(seen)) for name, seen in found.items()}
    return sum(p.macs * means[p.name] for p in places) / max(1, whole)


def cost(module: nn.Module, feed: Arrays) -> int:
    """Multiply-adds of a call."""
    with FlopCounterMode(display=False) as counter:
        call(module, feed)
    return int(counter.get_total_flops()) // 2
