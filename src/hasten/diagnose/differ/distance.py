"""How far two arrays are apart: at most, relative to the largest magnitude; as a cosine; and in what they decide."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

MOST = 1e9  # stands for anything larger, and for NaN or infinity where the reference has neither
MASK, GAP = 1e4, 1e3  # magnitudes from MASK on, and GAP times above all others, are a mask's: no scale for the rest
_PIECE = 1 << 18  # values looked at together, so that memory stays bounded


@dataclass(frozen=True)
class Distance:
    """
    Attributes:
        max_abs: largest absolute difference, in the array's own unit.
        error: largest difference over the largest magnitude of the reference; of whole numbers the share that differs.
        cosine: of all values together; 1 where both are zero.
    """

    max_abs: float
    error: float
    cosine: float


def distance(came: np.ndarray, right: np.ndarray) -> Distance:
    """Of `came` from the reference `right`; equal infinities, and NaN at the same place, are no difference."""
    if came.shape != right.shape:
        return Distance(MOST, MOST, 0.0)
    a, b = came.reshape(-1), right.reshape(-1)
    if right.dtype.kind not in "fV":
        share = float(np.count_nonzero(a != b)) / max(1, b.size)
        gap = np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0.0)
        return Distance(float(gap), share, 1.0 - share)
    usual, top = scale(b), _largest(b)
    largest = (_largest(a) or 1.0, top or 1.0)  # by which both are divided, so that squares do not overflow
    most = error = across = here = there = 0.0
    for start in range(0, b.size, _PIECE):
        one, two = (x[start : start + _PIECE].astype(np.float64) for x in (a, b))
        with np.errstate(invalid="ignore", over="ignore"):
            gap = np.abs(one - two)
        if not math.isfinite(gap.max()):
            gap = _mended(gap, one, two)
            one, two = (np.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0) for x in (one, two))
        worst = float(gap.max())
        most = max(most, worst)
        if usual < top:
            error = max(error, float((gap / np.maximum(np.abs(two), usual)).max()))
        elif worst:
            error = max(error, worst / usual if usual else 1.0)
        one /= largest[0]
        two /= largest[1]
        across, here, there = across + float(one @ two), here + float(one @ one), there + float(two @ two)
    lengths = math.sqrt(here * there)
    cosine = max(-1.0, min(1.0, across / lengths)) if lengths else float(here == there)
    return Distance(min(most, MOST), min(error, MOST), cosine)


def scale(right: np.ndarray) -> float:
    """The largest magnitude of a flat array, unless that is only how a mask is written."""
    largest = _largest(right)
    if largest < MASK:
        return largest
    rest, least = 0.0, largest
    for part in _parts(right):
        size = np.abs(part[np.isfinite(part)].astype(np.float64))
        rest = max(rest, float(size[size < MASK].max(initial=0.0)))
        least = min(least, float(size[size >= MASK].min(initial=np.inf)))
    return rest if 0 < GAP * rest <= least else largest


def _mended(gap: np.ndarray, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Nothing where both are the same infinity or NaN, MOST where only one of them is."""
    same = (here == there) | (np.isnan(here) & np.isnan(there))
    return np.where(same, 0.0, np.nan_to_num(gap, nan=MOST, posinf=MOST))


def _largest(flat: np.ndarray) -> float:
    """Of the finite magnitudes."""
    return max(map(_top, _parts(flat)), default=0.0)


def _top(part: np.ndarray) -> float:
    top = max(float(part.max()), -float(part.min()))
    return top if math.isfinite(top) else float(np.abs(part[np.isfinite(part)].astype(np.float64)).max(initial=0.0))


def _parts(flat: np.ndarray) -> Iterator[np.ndarray]:
    return (flat[start : start + _PIECE] for start in range(0, flat.size, _PIECE))


def agreement(came: np.ndarray, right: np.ndarray) -> float | None:
    """Share of rows whose largest value stands at the same place; of equal values where they are whole numbers.

    None where a row is a single float, which decides nothing.
    """
    if came.shape != right.shape or not right.size:
        return 0.0
    if right.dtype.kind not in "fV":
        return float((came == right).mean())
    if right.ndim < 2 or right.shape[-1] < 2:
        return None
    return float((came.argmax(-1) == right.argmax(-1)).mean())
