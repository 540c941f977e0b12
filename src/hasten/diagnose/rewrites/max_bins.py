"""max_bins: adaptive max pooling to a size that does not divide the image, bin by bin.

What breaks (torch 2.13): dynamo finds no function for aten.adaptive_max_pool2d, the older exporter has one only where
the size of the output divides that of the input. Instead: the largest of each bin, which are slices of known bounds,
first over rows, then over columns; to the bit. Where indices are asked for it declines.
"""

from itertools import product
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from hasten.compress._calls import Run, answered, declined

SAYS = "takes the largest of each bin of the adaptive pooling"
MOST = 256  # bins along an axis


def rewritten(module: nn.Module, run: Run) -> nn.Module:
    """
    Raises:
        NotApplicable: nothing is pooled so.
    """
    calls = {
        function: (lambda x, size, return_indices=False, axes=axes: pooled(x, size, axes, return_indices))
        for axes, names in ((1, "adaptive_max_pool1d"), (2, "adaptive_max_pool2d"), (3, "adaptive_max_pool3d"))
        for holder, form in product((F, torch, torch._C._nn), (names, f"_{names}"))
        if (function := getattr(holder, form, None)) is not None
    }
    return answered(module, run, calls, "adaptive max pooling")


def pooled(x: torch.Tensor, size: Any, axes: int, return_indices: bool = False) -> torch.Tensor:
    """[..., L1, ..., Laxes] -> [..., size], or as long as it was where a size is None."""
    wanted = [size] * axes if isinstance(size, int) else list(size)
    if return_indices or any(isinstance(n, int) and n > MOST for n in wanted):
        return declined()
    for axis, count in zip(range(-axes, 0), wanted, strict=True):
        length = x.shape[axis]
        if count is None or count == length:
            continue
        if not isinstance(length, int):
            return declined()
        bins = [(i * length // count, -(-(i + 1) * length // count)) for i in range(count)]
        x = torch.stack([x.narrow(axis, a, b - a).amax(axis) for a, b in bins], axis)
    return x
