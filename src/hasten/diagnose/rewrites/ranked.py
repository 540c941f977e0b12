"""ranked: medians and k-th values are read off sorted values.

What breaks (torch 2.13): neither exporter has a form of aten.median and aten.kthvalue. Instead: sort, and the element
at that place; values are the same to the bit. Of equal values another index may be told; a NaN counts as the largest
value, where torch's median would give NaN.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from hasten.compress._calls import Run, answered

SAYS = "reads medians and k-th values off sorted values"


class Ranked(NamedTuple):
    """As torch answers."""

    values: torch.Tensor
    indices: torch.Tensor


def rewritten(module: nn.Module, run: Run) -> nn.Module:
    """
    Raises:
        NotApplicable: nothing is ranked.
    """
    calls: dict[Callable[..., object], Callable[..., object]] = {
        **dict.fromkeys((torch.median, torch.Tensor.median), median),
        **dict.fromkeys((torch.kthvalue, torch.Tensor.kthvalue), kthvalue),
    }
    return answered(module, run, calls, "median or kthvalue")


def median(x: torch.Tensor, dim: int | None = None, keepdim: bool = False) -> torch.Tensor | Ranked:
    """The lower one of the two in the middle."""
    if dim is None:
        flat = x.flatten()
        return flat.sort()[0][(flat.shape[0] - 1) // 2]
    return kthvalue(x, (x.shape[dim] + 1) // 2, dim, keepdim)


def kthvalue(x: torch.Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Ranked:
    """The k-th smallest along an axis, from 1 on."""
    values, indices = (part.narrow(dim, k - 1, 1) for part in x.sort(dim))
    return Ranked(values, indices) if keepdim else Ranked(values.squeeze(dim), indices.squeeze(dim))
