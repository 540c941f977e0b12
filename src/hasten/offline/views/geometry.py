"""What views do to space and time: turns, cuts and delays, each with its way back for tensors, maps and boxes."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, final

import numpy as np

from hasten.offline.views import _resample

Back = tuple[np.ndarray, np.ndarray | None]  # a map over the input, and where it is known (None: everywhere)


class Axes(NamedTuple):
    """Where space and time lie in a tensor [N, ...]; None: it has none of it."""

    height: int | None = None
    width: int | None = None
    time: int | None = None

    @property
    def space(self) -> tuple[int, int]:
        assert self.height is not None
        assert self.width is not None
        return self.height, self.width


class Size(NamedTuple):
    """Height and width of an input in pixels."""

    height: int
    width: int


class Move(Protocol):
    """One step of a view, for inputs of one size."""

    @property
    def after(self) -> Size:
        """The size of what it makes."""

    def do(self, array: np.ndarray, axes: Axes) -> np.ndarray:
        """What the network sees in the place of a tensor [N, ...]; the dtype is kept."""

    def undo(self, array: np.ndarray, axes: Axes, cells: Size) -> Back:
        """A map of what the network saw, over what there was before.

        Args:
            cells: of the map then, which need not be pixels.
        """

    def grid(self, cells: Size) -> Size:
        """Height and width of a map of what it makes, from those of a map of what there was before."""

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """Where a point (x, y) goes: the matrix [2, 2] and the offset [2]."""


@final
@dataclass(frozen=True)
class Turn:
    """Mirrored left to right or not, then turned against the clock."""

    size: Size
    mirrored: bool
    quarters: int

    @property
    def after(self) -> Size:
        return self.grid(self.size)

    def grid(self, cells: Size) -> Size:
        return Size(cells.width, cells.height) if self.quarters % 2 else cells

    def do(self, array: np.ndarray, axes: Axes) -> np.ndarray:
        array = np.flip(array, axes.space[1]) if self.mirrored else array
        return np.rot90(array, self.quarters, axes.space)

    def undo(self, array: np.ndarray, axes: Axes, cells: Size) -> Back:
        if axes.height is None:
            return array, None
        array = np.rot90(array, -self.quarters, axes.space)
        return np.flip(array, axes.space[1]) if self.mirrored else array, None

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        matrix, offset = np.eye(2), np.zeros(2)
        if self.mirrored:
            matrix, offset = np.diag([-1.0, 1.0]), np.array([self.size.width, 0.0])
        width, height = self.size.width, self.size.height
        for _ in range(self.quarters):
            quarter = np.array([[0.0, 1.0], [-1.0, 0.0]])  # (x, y) -> (y, width - x)
            matrix, offset = quarter @ matrix, quarter @ offset + [0.0, width]
            width, height = height, width
        return matrix, offset


@final
@dataclass(frozen=True)
class Cut:
    """A part of the input, of which some may lie outside (the border is repeated there), on a grid of its own size."""

    size: Size
    top: int
    left: int
    height: int
    width: int
    after: Size

    def grid(self, cells: Size) -> Size:
        return Size(*(round(n * a / s) for n, a, s in zip(cells, self.after, self.size, strict=True)))

    def do(self, array: np.ndarray, axes: Axes) -> np.ndarray:
        array = _resample.along(array, axes.space[0], self.top, self.height, self.height)
        array = _resample.along(array, axes.space[1], self.left, self.width, self.width)
        return _resample.resized(array, axes.space, self.after)

    def undo(self, array: np.ndarray, axes: Axes, cells: Size) -> Back:
        if axes.height is None:
            return array, None
        masks = []
        spans = ((self.top, self.height), (self.left, self.width))
        for axis, (first, part), whole, count in zip(axes.space, spans, self.size, cells, strict=True):
            own = array.shape[axis] / part  # cells of this map to a pixel of the input
            masks.append(_broad(_resample.seen(-first * own, whole * own, count, array.shape[axis]), axis, array.ndim))
            array = _resample.along(array, axis, -first * own, whole * own, count)
        mask = np.asarray(masks[0] & masks[1])
        return array, None if mask.all() else mask

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        zoom = np.array([self.after.width / self.width, self.after.height / self.height])
        return np.diag(zoom), -zoom * [self.left, self.top]


@final
@dataclass(frozen=True)
class Delay:
    """Each frame of a clip is the one so many frames later; at its ends the last one, or the first, is repeated."""

    after: Size
    frames: int

    def grid(self, cells: Size) -> Size:
        return cells

    def do(self, array: np.ndarray, axes: Axes) -> np.ndarray:
        assert axes.time is not None
        return _resample.along(array, axes.time, self.frames, array.shape[axes.time], array.shape[axes.time])

    def undo(self, array: np.ndarray, axes: Axes, cells: Size) -> Back:
        if axes.time is None:
            return array, None
        n = array.shape[axes.time]
        mask = _broad(_resample.seen(-self.frames, n, n, n), axes.time, array.ndim)
        return _resample.along(array, axes.time, -self.frames, n, n), mask

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        return np.eye(2), np.zeros(2)


def _broad(mask: np.ndarray, axis: int, axes: int) -> np.ndarray:
    """One axis of a mask among as many as a map has."""
    return mask.reshape([-1 if a == axis else 1 for a in range(axes)])
