"""Which weights become zero; and a form of weights in which they stay so."""

from collections.abc import Mapping

import torch
from torch import nn

OF_FOUR, IN_FOUR = 4, 2  # of 2:4: weights in a group, and how many of them stay


class Masked(nn.Module):
    kept: torch.Tensor  # bool, of the weight's shape

    def __init__(self, kept: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("kept", kept)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return torch.where(self.kept, weight, weight.new_zeros(()))


def masks(weights: Mapping[str, torch.Tensor], pattern: str, scope: str, share: float) -> dict[str, torch.Tensor]:
    """By layer, bool of the weight's shape: what stays when that share of the smallest goes."""
    sizes = {name: w.abs() / w.abs().mean().clamp_min(torch.finfo(w.dtype).tiny) for name, w in weights.items()}
    if pattern == "2:4":
        return {name: _two_of_four(size) for name, size in sizes.items()}
    if scope == "local":
        return {name: _largest(size.flatten(), share).reshape(size.shape) for name, size in sizes.items()}
    every = _largest(torch.cat([size.flatten() for size in sizes.values()]), share)
    parts = torch.split(every, [size.numel() for size in sizes.values()])
    return {name: part.reshape(sizes[name].shape) for name, part in zip(sizes, parts, strict=True)}


def _largest(size: torch.Tensor, share: float) -> torch.Tensor:
    """Of [n] all but that share; what is zero already goes first."""
    kept = torch.ones(len(size), dtype=torch.bool)
    kept[size.argsort(stable=True)[: round(share * len(size))]] = False
    return kept


def _two_of_four(size: torch.Tensor) -> torch.Tensor:
    """Of every four along the inputs the two that are largest; [out, in, ...]."""
    inputs_last = size.transpose(1, -1)
    groups = inputs_last.reshape(-1, OF_FOUR)
    kept = torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, groups.topk(IN_FOUR, -1).indices, True)
    return kept.reshape(inputs_last.shape).transpose(1, -1)
