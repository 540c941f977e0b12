"""How far two arrays are apart: at most, relative to the largest magnitude; as a cosine; and in what they decide."""

from dataclasses import dataclass

import numpy as np

MOST = 1e9  # stands for anything larger, and for NaN or infinity where the reference has neither
MASK, GAP = 1e4, 1e3  # magnitudes from MASK on, and GAP times above all others, are a mask's: no scale for the rest


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
    if right.dtype.kind not in "fV":
        apart = came != right
        gap = np.abs(came.astype(np.float64) - right.astype(np.float64)).max(initial=0.0)
        share = float(np.count_nonzero(apart)) / max(1, right.size)
        return Distance(float(gap), share, 1.0 - share)
    here, there = came.astype(np.float64), right.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.abs(here - there)
        same = (here == there) | (np.isnan(here) & np.isnan(there))
    gap = np.where(same, 0.0, np.nan_to_num(gap, nan=MOST, posinf=MOST))
    size = np.where(np.isfinite(there), np.abs(there), 0.0)
    by = np.maximum(size, scale(size))
    error = np.divide(gap, by, out=(gap > 0).astype(np.float64), where=by > 0)
    return Distance(_bounded(gap.max(initial=0.0)), _bounded(error.max(initial=0.0)), cosine(here, there))


def scale(size: np.ndarray) -> float:
    """The largest of these magnitudes, unless that is only how a mask is written."""
    largest = float(size.max(initial=0.0))
    if largest < MASK:
        return largest
    large = size >= MASK
    rest = float(size[~large].max(initial=0.0))
    return rest if 0 < GAP * rest <= float(size[large].min()) else largest


def cosine(here: np.ndarray, there: np.ndarray) -> float:
    good = np.isfinite(here) & np.isfinite(there)
    a, b = np.where(good, here, 0.0).ravel(), np.where(good, there, 0.0).ravel()
    for x in (a, b):
        x /= np.abs(x).max(initial=0.0) or 1.0
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    if lengths:
        return float(np.clip(a @ b / lengths, -1.0, 1.0))
    return 1.0 if not a.any() and not b.any() else 0.0


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


def _bounded(value: float) -> float:
    return float(min(value, MOST))
