"""scatter_mean: the mean of what is scattered to a place is its sum divided by its count.

What breaks (torch 2.13): ONNX has no mean among the reductions of ScatterElements. The older exporter says so; dynamo
writes a graph that lets one value win, and answers wrongly in silence. Instead: two scattered sums and a division.
"""

from typing import Any

import torch
from torch import nn

from hasten.compress._calls import Run, answered, declined

SAYS = "divides scattered sums by scattered counts"


def rewritten(module: nn.Module, run: Run) -> nn.Module:
    """
    Raises:
        NotApplicable: no mean is scattered.
    """
    plain = torch.scatter_reduce, torch.Tensor.scatter_reduce
    return answered(module, run, dict.fromkeys(plain, scatter_reduce), "scatter_reduce(..., 'mean')")


def scatter_reduce(
    x: torch.Tensor,
    dim: int,
    index: torch.Tensor,
    src: torch.Tensor,
    reduce: str,
    *,
    include_self: bool = True,
    **options: Any,
) -> torch.Tensor:
    """As torch's, of floats and "mean"."""
    if options or reduce != "mean" or not x.is_floating_point():
        return declined()
    start = x if include_self else torch.zeros_like(x)
    count = torch.ones_like(x) if include_self else torch.zeros_like(x)
    total = start.scatter_add(dim, index, src)
    count = count.scatter_add(dim, index, torch.ones_like(src))
    return torch.where(count > 0, total / count.clamp_min(1), x)
