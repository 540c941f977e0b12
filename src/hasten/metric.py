"""What is meant by accuracy."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps

import numpy as np

from hasten.errors import InputError, unknown
from hasten.model import Arrays, Signature

Rows = Callable[[Arrays, np.ndarray], np.ndarray]
_PIECE = 1024  # samples scored together, so that maps and masks of many samples never lie in memory twice


def _mean(rows: np.ndarray) -> float:
    return float(rows.mean())


@dataclass(frozen=True)
class Metric:
    """One or more figures a sample, and what they come to together.

    The target is what the data has; where it has none, the first output of the original model, unless `labels` says
    that an answer of a model will not do.

    Attributes:
        name: as printed.
        rows: (outputs by name [N, ...], target [N, ...]) -> float array [N] or [N, k], a row a sample.
        total: rows -> the figure; the mean unless said otherwise (F1: from summed counts).
        higher_is_better: False for an error.
        reference: True when the target is always the first output of the original model, whatever the data has.
        labels: True when the target must be class numbers, 0 up to the last axis of the first output.
    """

    name: str
    rows: Rows
    total: Callable[[np.ndarray], float] = _mean
    higher_is_better: bool = True
    reference: bool = False
    labels: bool = False

    def drop(self, before: float, after: float) -> float:
        """How much worse `after` is, in the metric's unit; negative when it is better."""
        return before - after if self.higher_is_better else after - before

    def check(self, target: np.ndarray | None, signature: Signature, what: str) -> None:
        """See before anything is run that there are labels where they are needed, and that the model has their classes.

        Args:
            target: of the data, or None.
            signature: of the model.
            what: the word for this data in the sentence.

        Raises:
            InputError: no labels, labels that are not whole numbers, or out of range.
        """
        if not self.labels:
            return
        if target is None:
            raise InputError(
                f"{what}: {self.name} needs labels, and the data has no target",
                "give them as `target`, or use the metric agreement, which compares with the original model",
            )
        shape = signature.outputs[0].shape
        classes = shape[-1] if len(shape) > 1 else None
        _check_labels(target, classes if isinstance(classes, int) else None, f"{what}: ")


def is_mean(metric: Metric) -> bool:
    """Whether the rows simply add up."""
    return metric.total is _mean


def _in_pieces(rows: Rows) -> Rows:
    """The same rows, a thousand samples at a time."""

    @wraps(rows)
    def scored(outputs: Arrays, target: np.ndarray) -> np.ndarray:
        if any(len(a) != len(target) for a in outputs.values()):
            raise InputError(f"{len(_first(outputs))} answers for {len(target)} targets", "give one target a sample")
        starts = range(0, len(target), _PIECE)
        return np.concatenate(
            [rows({k: v[s : s + _PIECE] for k, v in outputs.items()}, target[s : s + _PIECE]) for s in starts]
        )

    return scored


def _first(outputs: Arrays) -> np.ndarray:
    return np.asarray(next(iter(outputs.values())))


def _check_labels(target: np.ndarray, classes: int | None, where: str = "") -> None:
    if target.dtype.kind not in "iub":
        raise InputError(
            f"{where}labels are {target.dtype.name}", "give class numbers from 0 on, with .astype(np.int64)"
        )
    if target.size and (target.min() < 0 or (classes is not None and target.max() >= classes)):
        has = f"the model has {classes} classes" if classes is not None else "classes count"
        raise InputError(f"{where}labels run from {target.min()} to {target.max()}", f"{has}, from 0")


def _classes(outputs: Arrays, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores [N, ..., C] and labels [N, ...] -> [N, P, C] and [N, P]: one position a row."""
    scores = _first(outputs)
    if scores.ndim < 2:
        raise InputError(
            f"the first output has shape {list(scores.shape)}", "this metric needs scores [N, ..., classes]"
        )
    if target.size * scores.shape[-1] != scores.size:
        raise InputError(
            f"target {list(target.shape)} does not fit scores {list(scores.shape)}", "give one label for each position"
        )
    _check_labels(target, scores.shape[-1])
    return scores.reshape(len(scores), -1, scores.shape[-1]), target.reshape(len(target), -1)


def _pair(outputs: Arrays, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Answers and targets of as many elements -> float64 [N, M] both; [N, 1] and [N] are the same."""
    answer = _first(outputs)
    if answer.size != target.size or [d for d in answer.shape if d != 1] != [d for d in target.shape if d != 1]:
        raise InputError(
            f"target {list(target.shape)} does not fit answers {list(answer.shape)}",
            "give it the shape of the first output",
        )
    return answer.reshape(len(target), -1).astype(np.float64), target.reshape(len(target), -1).astype(np.float64)


@_in_pieces
def _top1(outputs: Arrays, target: np.ndarray) -> np.ndarray:
    scores, labels = _classes(outputs, target)
    return np.asarray((scores.argmax(-1) == labels).mean(1), np.float64)


@_in_pieces
def _top5(outputs: Arrays, target: np.ndarray) -> np.ndarray:
    scores, labels = _classes(outputs, target)
    best = np.argsort(-scores.astype(np.float64), axis=-1, kind="stable")[..., :5]
    return np.asarray((best == labels[..., None]).any(-1).mean(1), np.float64)


@_in_pieces
def _mse(outputs: Arrays, target: np.ndarray) -> np.ndarray:
    a, b = _pair(outputs, target)
    return np.asarray(np.square(a - b).mean(1))


@_in_pieces
def _cosine(outputs: Arrays, target: np.ndarray) -> np.ndarray:
    a, b = _pair(outputs, target)
    lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    both_zero = (lengths[0] == 0) & (lengths[1] == 0)
    return np.asarray(np.where(both_zero, 1.0, (a * b).sum(1) / np.maximum(lengths[0] * lengths[1], 1e-300)))


@_in_pieces
def _agreement(outputs: Arrays, target: np.ndarray) -> np.ndarray:
    answer = _first(outputs)
    if answer.ndim < 2 or answer.shape != target.shape:
        raise InputError(
            f"answers {list(answer.shape)} cannot agree with {list(target.shape)}",
            "this metric needs scores [N, ..., classes]: use mse or cosine",
        )
    return np.asarray((answer.argmax(-1) == target.argmax(-1)).reshape(len(target), -1).mean(1), np.float64)


METRICS = {
    m.name: m
    for m in (
        Metric("top1", _top1, labels=True),
        Metric("top5", _top5, labels=True),
        Metric("mse", _mse, higher_is_better=False),
        Metric("cosine", _cosine),
        Metric("agreement", _agreement, reference=True),
    )
}


def metric(name: str) -> Metric:
    """A metric by name: top1 and top5 (share, 0..1), mse, cosine, agreement (with the original model's first choice).

    Raises:
        UsageError: there is no such metric; the nearest name is offered.
    """
    if name not in METRICS:
        raise unknown("metric", name, METRICS)
    return METRICS[name]
