"""running: cumulative maxima, minima and products, step by step.

What breaks (torch 2.13): neither exporter has a form of aten.cummax and aten.cummin; aten.cumprod ends in prims.prod,
which dynamo has no function for. Instead: one step for each element of the axis, unrolled, in torch's own order; to
the bit. For up to 256 elements; a NaN is not carried on by maxima and minima as torch would.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from hasten.compress._calls import Run, answered, declined

SAYS = "computes the running maximum, minimum or product step by step"
MOST = 256  # elements


class Running(NamedTuple):
    """As torch answers."""

    values: torch.Tensor
    indices: torch.Tensor


def rewritten(module: nn.Module, run: Run) -> nn.Module:
    """
    Raises:
        NotApplicable: nothing is accumulated so.
    """
    calls: dict[Callable[..., object], Callable[..., object]] = {
        torch.cumprod: cumprod, torch.Tensor.cumprod: cumprod,
        torch.cummax: cummax, torch.Tensor.cummax: cummax,
        torch.cummin: cummin, torch.Tensor.cummin: cummin,
    }  # fmt: skip
    return answered(module, run, calls, "cummax, cummin or cumprod")


def cumprod(x: torch.Tensor, dim: int, **options: object) -> torch.Tensor:
    """Along an axis of known length."""
    if options or not _few(x, dim):
        return declined()
    made = [x.select(dim, 0)]
    for i in range(1, x.shape[dim]):
        made.append(made[-1] * x.select(dim, i))
    return torch.stack(made, dim)


def cummax(x: torch.Tensor, dim: int) -> Running:
    """Along an axis of known length; of equal values the last one is told."""
    return _extreme(x, dim, torch.ge)


def cummin(x: torch.Tensor, dim: int) -> Running:
    """Along an axis of known length; of equal values the last one is told."""
    return _extreme(x, dim, torch.le)


def _extreme(x: torch.Tensor, dim: int, better: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Running:
    if not _few(x, dim):
        return declined()
    best = x.select(dim, 0)
    place = torch.zeros_like(best, dtype=torch.int64)
    values, places = [best], [place]
    for i in range(1, x.shape[dim]):
        new = x.select(dim, i)
        wins = better(new, best)
        best, place = torch.where(wins, new, best), torch.where(wins, i, place)
        values.append(best)
        places.append(place)
    return Running(torch.stack(values, dim), torch.stack(places, dim))


def _few(x: torch.Tensor, dim: int) -> bool:
    return isinstance(x.shape[dim], int) and 0 < x.shape[dim] <= MOST
