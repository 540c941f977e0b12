"""counted: the place of a value among sorted boundaries is the number of boundaries below it.

What breaks (torch 2.13): dynamo finds no function for aten.searchsorted, the older exporter none either. Instead:
each value is compared with each boundary, and the comparisons are counted; to the bit. Memory is that of all
comparisons.
"""

from typing import Any

import torch
from torch import nn

from hasten.compress._calls import Run, answered, declined

SAYS = "counts the boundaries below each value in place of searching"


def rewritten(module: nn.Module, run: Run) -> nn.Module:
    """
    Raises:
        NotApplicable: nothing is searched.
    """
    return answered(module, run, {torch.searchsorted: searchsorted}, "searchsorted")


def searchsorted(
    boundaries: torch.Tensor,
    x: torch.Tensor,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    **options: Any,
) -> torch.Tensor:
    """Boundaries [..., B], ascending, and values [..., V], or of any shape where boundaries are [B] -> as values."""
    if options or not isinstance(x, torch.Tensor):
        return declined()
    edges = boundaries if boundaries.ndim == 1 else boundaries[..., None, :]
    below = edges <= x[..., None] if right or side == "right" else edges < x[..., None]
    return below.sum(-1, dtype=torch.int32 if out_int32 else torch.int64)
