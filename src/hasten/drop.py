"""How much accuracy is lost, and how sure that is."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hasten.errors import InputError
from hasten.metric import Metric, is_mean


@dataclass(frozen=True)
class Drop:
    """A paired difference with its 95 % interval; positive is worse."""

    value: float
    low: float
    high: float
    n: int  # independent groups behind it


def paired_drop(
    metric: Metric,
    before: np.ndarray,
    after: np.ndarray,
    groups: np.ndarray | None = None,
    seed: int = 0,
    repeats: int = 2000,
) -> Drop:
    """The drop from `before` to `after` on the same samples, by percentile bootstrap over groups.

    Where only a handful of samples differ the bootstrap is too narrow, and where none does it is a point: with n
    groups, a change that strikes fewer than 4 in n of them can pass unseen. Where rows are right or wrong the interval
    also holds what is left open by how many groups lose and how many win: the exact bounds of the two shares, put
    together as Newcombe does for a difference (1998, Statistics in Medicine 17, 873-890), times the mean change of a
    group. Give enough samples for the drop that matters. Efron and Tibshirani, An Introduction to the Bootstrap, 1993.

    Args:
        before, after: rows [N] or [N, k] of the two models, sample by sample.
        groups: int [N]; samples of a group are drawn together. None: each sample its own.
        seed: the same seed gives the same interval.
        repeats: bootstrap resamples.

    Returns:
        The drop in the metric's unit; with fewer than two groups its interval is everything.

    Raises:
        InputError: `before`, `after` and `groups` are not of one length.
    """
    if before.shape != after.shape or (groups is not None and len(groups) != len(before)):
        raise InputError(
            f"rows {list(before.shape)} and {list(after.shape)} cannot be paired",
            "score both models on the same samples",
        )
    names, group = np.unique(np.arange(len(before)) if groups is None else groups, return_inverse=True)
    n, rng = len(names), np.random.default_rng(seed)
    value = metric.drop(metric.total(before), metric.total(after))
    if n < 2:
        return Drop(value, -math.inf, math.inf, n)
    again = _means if is_mean(metric) else _totals
    drops = again(metric, before, after, group.reshape(-1), rng, repeats)
    low, high = (float(q) for q in np.quantile(drops, (0.025, 0.975)))
    if is_mean(metric) and all(np.isin(rows, (0, 1)).all() for rows in (before, after)):  # right or wrong
        lost, counts = _by_group(metric, before, after, group.reshape(-1))
        changes = np.abs(lost[lost != 0]) / counts.mean()
        size = (1 + changes.sum()) / (1 + len(changes))  # nobody knows that of what was not seen: one changes whole
        (less_lost, more_lost), (less_won, more_won) = (_open(int(k), n) for k in ((lost > 0).sum(), (lost < 0).sum()))
        low = min(low, value - size * math.hypot(less_lost, more_won))
        high = max(high, value + size * math.hypot(more_lost, less_won))
    return Drop(value, low, high, n)


def _by_group(
    metric: Metric, before: np.ndarray, after: np.ndarray, group: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What each group loses in all, and how many samples it has."""
    lost = (before.astype(np.float64) - after).reshape(len(before), -1).mean(1)
    return np.bincount(group, lost if metric.higher_is_better else -lost), np.bincount(group)


def _open(k: int, n: int) -> tuple[float, float]:
    """How far below and above k / n the true share can be, where k of n were seen (Clopper and Pearson 1934)."""
    fewer = _share(lambda p: 1 - _at_most(k - 1, n, p) < 0.025, 0.0, k / n) if k else 0.0
    more = _share(lambda p: _at_most(k, n, p) > 0.025, k / n, 1.0) if k < n else 1.0
    return k / n - fewer, more - k / n


def _share(below: Callable[[float], bool], low: float, high: float) -> float:
    """Where `below` ends to hold, between the two."""
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return high


def _at_most(k: int, n: int, share: float) -> float:
    """The chance of k or fewer of n."""
    if not 0 < share < 1:
        return float(share == 0 or k == n)
    i = np.arange(k + 1)
    factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    terms = factorial[n] - factorial[i] - factorial[n - i] + i * math.log(share) + (n - i) * math.log1p(-share)
    return float(np.exp(terms).sum())


def _means(
    metric: Metric, before: np.ndarray, after: np.ndarray, group: np.ndarray, rng: np.random.Generator, repeats: int
) -> np.ndarray:
    """Resampled drops of a mean [repeats], from the sums and sizes of the groups alone."""
    sums, counts = _by_group(metric, before, after, group)
    drawn = (rng.integers(0, len(sums), len(sums)) for _ in range(repeats))
    return np.array([sums[d].sum() / counts[d].sum() for d in drawn])


def _totals(
    metric: Metric, before: np.ndarray, after: np.ndarray, group: np.ndarray, rng: np.random.Generator, repeats: int
) -> np.ndarray:
    """Resampled drops of any total [repeats], from the rows of the groups drawn."""
    order = np.argsort(group, kind="stable")
    counts = np.bincount(group)
    starts = np.cumsum(counts) - counts
    drops = np.empty(repeats)
    for i in range(repeats):
        drawn = rng.integers(0, len(counts), len(counts))
        sizes = counts[drawn]
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        pick = order[np.repeat(starts[drawn], sizes) + within]
        drops[i] = metric.drop(metric.total(before[pick]), metric.total(after[pick]))
    return drops
