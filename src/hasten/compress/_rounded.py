"""A form of weights that has two or three values for each output."""

from typing import Any

import torch
from torch import nn

SMALL = 0.7  # of the mean magnitude: what is below becomes zero (Li et al. 2016)


class Signs(nn.Module):
    """Gradients go through as if nothing were rounded."""

    def __init__(self, zero: bool) -> None:
        super().__init__()
        self._zero = zero

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = _Through.apply(weight, self._zero)  # type: ignore[no-untyped-call]
        return made


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, zero: bool) -> torch.Tensor:
        size = weight.abs().flatten(1)
        used = size > (SMALL * size.mean(1, keepdim=True) if zero else -1)
        scale = (size * used).sum(1, keepdim=True) / used.sum(1, keepdim=True).clamp_min(1)
        signs = torch.where(weight.flatten(1) < 0, -1.0, 1.0)
        return (signs * used * scale).to(weight.dtype).reshape(weight.shape)

    @staticmethod
    def backward(ctx: Any, *above: torch.Tensor) -> tuple[torch.Tensor, None]:
        return above[0], None
