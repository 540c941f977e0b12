"""What is meant by accuracy, and how sure a difference is."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hasten.errors import InputError, unknown
from hasten.model import Arrays

Rows = Callable[[Arrays, np.ndarray], np.ndarray]


def _mean(rows: np.ndarray) -> float:
    return float(rows.mean())


@dataclass(frozen=True)
class Metric:
    """One or more figures a sample, and what they come to together.

    Attributes:
        name: as printed.
        rows: (outputs by name [N, ...], target [N, ...]) -> float array [N] or [N, k], a row a sample.
        total: rows -> the figure; the mean unless said otherwise (F1: from summed counts).
        higher_is_better: False for an error.
        reference: True when the target is the original model's own answer (its outputs by name, first output).
    """

    name: str
    rows: Rows
    total: Callable[[np.ndarray], float] = _mean
    higher_is_better: bool = True
    reference: bool = False

    def drop(self, before: float, after: float) -> float:
        """How much worse `after` is, in the metric's unit; negative when it is better."""
        return before - after if self.higher_is_better else after - before


@dataclass(frozen=True)
class Drop:
    """A paired difference with its 95 % interval; positive is worse."""

    value: float
    low: float
    high: float
    n: int  # independent groups behind it


def paired_drop(metric: Metric, before: np.ndarray, after: np.ndarray, groups: np.ndarray | None = None,
                seed: int = 0, repeats: int = 2000) -> Drop:
    """The drop from `before` to `after` on the same samples, by bootstrap over groups (Efron and Tibshirani 1993).

    Args:
        before, after: rows [N, ...] of the two models, sample by sample.
        groups: int [N]; samples of a group are drawn together. None: each sample its own.
        repeats: bootstrap resamples.
    """
    names, group = np.unique(np.arange(len(before)) if groups is None else groups, return_inverse=True)
    n, rng = len(names), np.random.default_rng(seed)
    value = metric.drop(metric.total(before), metric.total(after))
    if n < 2:
        return Drop(value, -math.inf, math.inf, n)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(n + 1))
    plain = metric.total is _mean and before.ndim == 1 and n == len(before)
    difference = (before - after) * (1 if metric.higher_is_better else -1)
    drops = np.empty(repeats)
    for i in range(repeats):
        drawn = rng.integers(0, n, n)
        if plain:
            drops[i] = difference[drawn].mean()
        else:
            pick = np.concatenate([order[starts[g]:starts[g + 1]] for g in drawn])
            drops[i] = metric.drop(metric.total(before[pick]), metric.total(after[pick]))
    low, high = np.quantile(drops, (0.025, 0.975))
    return Drop(value, float(low), float(high), n)


def _first(outputs: Arrays) -> np.ndarray:
    return np.asarray(next(iter(outputs.values())))


def _classes(outputs: Arrays, target: np.ndarray) -> np.ndarray:
    """Logits [N, ..., C] beside labels [N, ...]: one position a row -> [N, P, C]."""
    logits = _first(outputs)
    if logits.ndim < 2:
        raise InputError(f"the first output has shape {list(logits.shape)}", "this metric needs scores [N, ..., classes]")
    if target.size * logits.shape[-1] != logits.size:
        raise InputError(f"target {list(target.shape)} does not fit scores {list(logits.shape)}", "give one label for each")
    if target.size and (target.min() < 0 or target.max() >= logits.shape[-1]):
        raise InputError(f"labels run from {target.min()} to {target.max()}", f"the model has {logits.shape[-1]} classes, from 0")
    return logits.reshape(len(logits), -1, logits.shape[-1])


def _top1(outputs: Arrays, target: np.ndarray) -> np.ndarray:
    return np.asarray((_classes(outputs, target).argmax(-1) == target.reshape(len(target), -1)).mean(1), np.float64)


def _top5(outputs: Arrays, target: np.ndarray) -> np.ndarray:
    best = np.argsort(-_classes(outputs, target), axis=-1, kind="stable")[..., :5]
    return np.asarray((best == target.reshape(len(target), -1, 1)).any(-1).mean(1), np.float64)


def _mse(outputs: Arrays, target: np.ndarray) -> np.ndarray:
    error = _first(outputs).astype(np.float64) - target
    return np.asarray(np.square(error).reshape(len(target), -1).mean(1))


def _cosine(outputs: Arrays, target: np.ndarray) -> np.ndarray:
    a, b = (x.reshape(len(target), -1).astype(np.float64) for x in (_first(outputs), target))
    return np.asarray((a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-30))


def _agreement(outputs: Arrays, target: np.ndarray) -> np.ndarray:
    answer = _first(outputs)
    return np.asarray((answer.argmax(-1) == target.argmax(-1)).reshape(len(target), -1).mean(1), np.float64)


METRICS = {m.name: m for m in (
    Metric("top1", _top1),
    Metric("top5", _top5),
    Metric("mse", _mse, higher_is_better=False),
    Metric("cosine", _cosine),
    Metric("agreement", _agreement, reference=True),
)}


def metric(name: str) -> Metric:
    """A metric by name: top1 and top5 (share, 0..1), mse, cosine, agreement (with the original model's first choice)."""
    if name not in METRICS:
        raise unknown("metric", name, METRICS)
    return METRICS[name]
