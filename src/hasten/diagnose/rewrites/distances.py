"""distances: `cdist` as the norm of every difference.

What breaks (torch 2.13): dynamo finds no function for aten._cdist_forward; the older exporter takes p=2 alone, and
gives NaN for others. Instead: all differences, and their norm. Memory is that of all differences; for p=2 it is more
exact than torch's own way by a matrix product, which it takes for 25 rows and more.
"""

import math

import torch
from torch import nn

from hasten.compress._calls import Run, answered

SAYS = "writes cdist as the norm of every difference"


def rewritten(module: nn.Module, run: Run) -> nn.Module:
    """
    Raises:
        NotApplicable: no distances are computed so.
    """
    return answered(module, run, {torch.cdist: cdist}, "cdist")


def cdist(a: torch.Tensor, b: torch.Tensor, p: float = 2.0, compute_mode: str | None = None) -> torch.Tensor:
    """[..., P, M] and [..., R, M] -> [..., P, R]."""
    apart = (a[..., :, None, :] - b[..., None, :, :]).abs()
    if p == math.inf:
        return apart.amax(-1)
    if p == 0:
        return (apart != 0).sum(-1).to(a.dtype)
    if p == 1:
        return apart.sum(-1)
    return apart.square().sum(-1).sqrt() if p == 2 else apart.pow(p).sum(-1).pow(1 / p)
