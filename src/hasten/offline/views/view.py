"""A view: another look at the same sample, whose answers can be put back to where they belong."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hasten.errors import UsageError, unknown
from hasten.offline.views.geometry import Axes, Back, Cut, Delay, Move, Size, Turn

TURNS = {"identity": (False, 0), "hflip": (True, 0), "vflip": (True, 2),
         "rot90": (False, 1), "rot180": (False, 2), "rot270": (False, 3)}  # fmt: skip
SHIFTS = {"up": (1, 0), "down": (-1, 0), "left": (0, 1), "right": (0, -1)}  # where the picture goes; rows and columns
DELAYS = {"later": 1, "earlier": -1}
CROPS = {"centre": (0.5, 0.5), "topleft": (0, 0), "topright": (0, 1), "bottomleft": (1, 0), "bottomright": (1, 1)}
FAMILIES = {"shift": tuple(SHIFTS), "crop": tuple(CROPS)}  # a word that stands for several views
_SHARES = {"scale": (0.5, 2.0), **dict.fromkeys((*CROPS, "crop"), (0.3, 0.999))}
_COUNTS = (*SHIFTS, *DELAYS, "shift")
_THEN = "+"
_KNOWN = 0.999  # of a cell: less is not known

Step = tuple[str, float]  # a name and its amount; 0 where it has none


@dataclass(frozen=True)
class View:
    """One step, as it is written: `hflip`, `scale=1.1`; or several, one after the other: `hflip+left=2`."""

    steps: tuple[Step, ...] = (("identity", 0),)

    def __str__(self) -> str:
        return _THEN.join(f"{name}={amount:g}" if amount else name for name, amount in self.steps)

    def moves(self, size: Size, free: bool = False) -> list[Move]:
        """
        Args:
            size: of the input.
            free: the network takes other sizes: a scale then changes that of the input, otherwise what it shows.
        """
        found: list[Move] = []
        for step in self.steps:
            found.append(_move(step, found[-1].after if found else size, free))
        return found

    def tensor(self, array: np.ndarray, axes: Axes, free: bool = False) -> np.ndarray:
        """What the network sees in the place of a prepared input [N, ...]; the dtype is kept."""
        for move in self.moves(Size(*(array.shape[a] for a in axes.space)), free):
            array = move.do(array, axes)
        return np.ascontiguousarray(array)

    def undone(self, array: np.ndarray, axes: Axes, size: Size, cells: Size, free: bool = False) -> Back:
        """What the network gives for the view, put back over the input.

        Args:
            array: [N, ...]; a map, or a row for each frame; what has neither space nor time stays as it is.
            axes: of it.
            size: of the input.
            cells: height and width of the map that the network gives for the input itself.

        Returns:
            It over the input; and where the view had looked: bool, [1, ...] of the same axes, or None for everywhere.
        """
        moves = self.moves(size, free)
        grids = [cells]
        for move in moves[:-1]:
            grids.append(move.grid(grids[-1]))
        mask: np.ndarray | None = None
        for move, grid in zip(moves[::-1], grids[::-1], strict=True):
            if mask is not None:
                mask = move.undo(mask.astype(np.float64), axes, grid)[0] > _KNOWN
            array, here = move.undo(array, axes, grid)
            if here is not None:
                mask = np.broadcast_to(here, (1, *array.shape[1:])) & (True if mask is None else mask)
        return array, mask

    def boxes(self, boxes: np.ndarray, size: Size, free: bool = False, back: bool = True) -> np.ndarray:
        """Boxes [..., 4] of left, top, right, bottom in pixels of the view, in those of the input; f64.

        Args:
            back: False for the other way: from the input into the view.
        """
        corners = boxes.astype(np.float64).reshape(*boxes.shape[:-1], 2, 2)
        ways = [move.points() for move in self.moves(size, free)]
        for matrix, offset in ways[::-1] if back else ways:
            corners = (corners - offset) @ np.linalg.inv(matrix).T if back else corners @ matrix.T + offset
        return np.concatenate([corners.min(axis=-2), corners.max(axis=-2)], axis=-1)


IDENTITY = View()


def parse(text: str) -> tuple[View, ...]:
    """Views of words with commas between them: `hflip,shift=2,hflip+scale=1.1`; a family stays one word.

    hflip, vflip; rot90, rot180, rot270 (against the clock); scale=S; shift=K, or one of up=K, down=K, left=K, right=K
    (pixels), earlier=K, later=K (frames of a clip); crop=SHARE, or one of centre=SHARE, topleft=SHARE and so on.

    Raises:
        UsageError: a word that is no view, the nearest one offered; or an amount that is none.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    return tuple(dict.fromkeys(View(tuple(_step(part.strip()) for part in word.split(_THEN))) for word in words))


def spread(views: Sequence[View], clip: bool) -> tuple[View, ...]:
    """The same with the members of every family in its place, each view once, and the input as it is first.

    Args:
        clip: a shift is one in time.
    """
    found = [IDENTITY]
    for view in views:
        branches: list[tuple[Step, ...]] = [()]
        for name, amount in view.steps:
            members = tuple(DELAYS) if clip and name == "shift" else FAMILIES.get(name, (name,))
            branches = [(*branch, (member, amount)) for branch in branches for member in members]
        found += [View(branch) for branch in branches]
    return tuple(dict.fromkeys(found))


def _step(text: str) -> Step:
    name, equals, said = text.partition("=")
    if name not in (*TURNS, *_SHARES, *_COUNTS):
        raise unknown("view", name, (*TURNS, *_SHARES, *_COUNTS))
    if name in TURNS:
        if equals:
            raise UsageError(f"{name} takes no amount", f"say {name}")
        return name, 0
    amount = float(said) if re.fullmatch(r"\d{1,4}(\.\d{1,4})?", said) else 0.0
    if name in _COUNTS and (amount < 1 or amount != int(amount)):
        raise UsageError(f"{text!r} is no view", f"say by how many pixels or frames: {name}=2")
    low, high = _SHARES.get(name, (1, math.inf))
    if not low <= amount <= high or (name == "scale" and amount == 1):
        raise UsageError(f"{text!r} is no view", f"say a share from {low:g} to {high:g}: {name}=0.9")
    return name, amount


def _move(step: Step, size: Size, free: bool) -> Move:
    name, amount = step
    if name in TURNS:
        return Turn(size, *TURNS[name])
    if name in DELAYS:
        return Delay(size, int(DELAYS[name] * amount))
    if name in SHIFTS:
        down, across = (int(amount) * n for n in SHIFTS[name])
        return Cut(size, down, across, size.height, size.width, size)
    if name == "scale" and free:
        return Cut(size, 0, 0, *size, Size(*(max(1, round(n * amount)) for n in size)))
    share = 1 / amount if name == "scale" else amount
    part = Size(*(max(1, round(n * share)) for n in size))
    places = CROPS.get(name, (0.5, 0.5))
    top, left = (math.floor((n - p) * place) for n, p, place in zip(size, part, places, strict=True))
    return Cut(size, top, left, *part, size)
