"""Tensors on another grid, by the kernel of the pipeline's resize (spec/pixels.md), also from parts of a cell on."""

from functools import lru_cache

import numpy as np

from hasten.prepare import Prepare

_SAME = 1e-9  # of a cell


def along(array: np.ndarray, axis: int, first: float, length: float, count: int) -> np.ndarray:
    """`count` cells in the place of those from `first` to `first + length` of one axis; what lies outside repeats the
    cell at the border. Where cells meet cells they are copied.

    Args:
        array: any dtype; whole numbers are rounded to the nearest.
    """
    n = array.shape[axis]
    if abs(length - count) < _SAME and abs(first - round(first)) < _SAME:
        if round(first) == 0 and count == n:
            return array
        return np.take(array, np.clip(np.arange(count) + round(first), 0, n - 1), axis)
    wide = np.moveaxis(array, axis, -1).astype(np.float64)
    made = np.moveaxis(wide @ _weights(n, first, length, count).T, -1, axis)
    if array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype)
        made = np.clip(np.floor(made + 0.5), limits.min, limits.max)
    return np.ascontiguousarray(made.astype(array.dtype))


def seen(first: float, length: float, count: int, n: int) -> np.ndarray:
    """Which of the cells that `along` gives have their centre within the `n` cells they come from; bool [count]."""
    centres = first + (np.arange(count) + 0.5) * (length / count)
    return np.asarray((centres > _SAME) & (centres < n - _SAME))


def resized(array: np.ndarray, axes: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """All of the axes (height, width) on `size` cells; bytes by the native code that resizes images.

    Raises:
        MissingError: bytes, and this installation has no native code.
    """
    if tuple(array.shape[a] for a in axes) == size:
        return array
    if array.dtype != np.uint8:
        for axis, count in zip(axes[::-1], size[::-1], strict=True):  # across the rows first
            array = along(array, axis, 0.0, array.shape[axis], count)
        return array
    planes = np.moveaxis(array, axes, (-2, -1))
    how = Prepare("image", source="grey", colour="grey", size=size, layout="NHWC", dtype="uint8")
    made = how(planes.reshape(-1, *planes.shape[-2:]))[..., 0]
    return np.ascontiguousarray(np.moveaxis(made.reshape(*planes.shape[:-2], *size), (-2, -1), axes))


@lru_cache(maxsize=64)
def _weights(n: int, first: float, length: float, count: int) -> np.ndarray:
    """Of each of `n` cells in each of `count`; rows add up to one."""
    scale = length / count
    centres = np.clip(first + (np.arange(count) + 0.5) * scale, 0, n)
    stretch = max(scale, 1.0)
    parts = np.clip(1 - np.abs(np.arange(n) + 0.5 - centres[:, None]) / stretch, 0, None)
    return np.asarray(parts / parts.sum(axis=1, keepdims=True))
