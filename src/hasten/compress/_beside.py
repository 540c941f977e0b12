"""Block-wise distillation: what stands for a layer learns to answer as the layer does, each by itself, all at once.

Li et al. 2020, arXiv:1911.13053: every block hears what the original's would hear, so that no error is passed on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from hasten.compress._places import Chains, exchanged
from hasten.compress.heal import Heal
from hasten.model import TorchModel

if TYPE_CHECKING:
    from hasten.task import Task


class _Beside(nn.Module):
    """A layer and what will stand for it. The network goes on with the layer while it learns, with the other when it
    is scored; the distance between the two is what `gap` gives."""

    def __init__(self, layer: nn.Module, chain: nn.Module) -> None:
        super().__init__()
        self.layer, self.chain, self.gap = layer, chain, nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.chain(x)
        if not self.training:
            return made
        with torch.no_grad():
            wanted: torch.Tensor = self.layer(x)
        distance = nn.functional.mse_loss(made.float(), wanted.float())
        self.gap(distance / wanted.float().var().clamp_min(1e-6))
        return wanted


@dataclass
class _Gaps:
    """The hint of the training loop: the mean of all distances."""

    layers: Sequence[str]
    module: nn.Module


class _Mean(nn.Module):
    def forward(self, features: Sequence[torch.Tensor], feed: Sequence[torch.Tensor]) -> Any:
        return torch.stack(list(features)).mean()


def learnt(model: TorchModel, chains: Chains, task: "Task", how: Heal) -> Chains:
    """The chains after they have learnt, with `how`, to answer as the layers that they stand for; all else is still.

    The epoch stays whose network, with all chains in place, does best on validate.
    """
    still = exchanged(model.module, {})
    for parameter in still.parameters():
        parameter.requires_grad_(False)
    pairs: dict[str, nn.Module] = {name: _Beside(still.get_submodule(name), chain) for name, chain in chains.items()}
    both = replace(model, module=exchanged(still, pairs))
    hint = _Gaps([f"{name}.gap" for name in chains], _Mean())
    made = replace(how, teacher=1.0).train(both, task, hint)
    return {name: cast(nn.Sequential, made.module.get_submodule(name).chain) for name in chains}
