"""Blocks of a network that could be left out, and the network without some of them."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hasten.engines.torch import call
from hasten.model import Arrays


class Passed(nn.Module):
    """Gives the first of what it is given."""

    def forward(self, x: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
        return x


def blocks(module: nn.Module, feed: Arrays) -> tuple[dict[str, int], int, dict[str, str]]:
    """Blocks of several layers that give one tensor of the form of their first input, in the order of their names.

    Returns:
        Their multiply-adds for this call; those of the whole network; and why other blocks that run cannot be left out.
    """
    module = copy.deepcopy(module).eval()
    counter = FlopCounterMode(display=False)
    found, why, open_ = dict[str, int](), dict[str, str](), dict[str, int]()

    def before(name: str) -> Any:
        def hook(layer: nn.Module, given: Any, named: Any) -> None:
            open_[name] = int(counter.get_total_flops())

        return hook

    def after(name: str) -> Any:
        def hook(layer: nn.Module, given: Any, named: Any, made: Any) -> None:
            if not given or not isinstance(given[0], torch.Tensor) or not isinstance(made, torch.Tensor):
                why[name] = "it takes or gives something else than one tensor"
            elif given[0].shape != made.shape or given[0].dtype != made.dtype:
                why[name] = f"it makes {list(made.shape[1:])} of {list(given[0].shape[1:])}"
            found[name] = found.get(name, 0) + (int(counter.get_total_flops()) - open_[name]) // 2

        return hook

    for name, layer in module.named_modules():
        if name and any(layer.children()) and any(True for _ in layer.parameters()):
            layer.register_forward_pre_hook(before(name), with_kwargs=True)
            layer.register_forward_hook(after(name), with_kwargs=True)
    with counter:
        call(module, feed)
    return {n: macs for n, macs in found.items() if n not in why}, int(counter.get_total_flops()) // 2, why


def without(module: nn.Module, names: Iterable[str]) -> nn.Module:
    """A copy that passes on what these blocks would be given.

    Raises:
        AttributeError: there is no such block.
    """
    made = copy.deepcopy(module)
    for name in names:
        made.set_submodule(name, Passed(), strict=True)
    return made
