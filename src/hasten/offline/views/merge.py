"""Several answers to one sample made into one: by mean, geometric mean, maximum or vote."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self, get_args

import numpy as np

from hasten.errors import UsageError, unknown

How = Literal["mean", "geometric", "max", "vote"]
Of = Literal["", "outputs", "softmax", "sigmoid"]
HOWS: tuple[str, ...] = get_args(How)
_TINY = 1e-30  # the lowest probability that is told: its logarithm is finite in every precision


@dataclass(frozen=True)
class Merge:
    """How answers are merged, and of what: `mean`, `geometric:softmax`.

    The merged answer has the form of the network's own: after softmax or sigmoid it is a logit again, so that whatever
    reads the network's outputs reads these.

    Attributes:
        how: mean; geometric, the normalised geometric mean of probabilities; max, the highest that one of them gives;
            vote, by the class that each puts first (with sigmoid: each class that reaches 0.5), even votes by the mean.
        of: the outputs as they are, or the probabilities that softmax or sigmoid makes of them; empty: by the
            pipeline's activation.
    """

    how: How = "mean"
    of: Of = ""

    def __str__(self) -> str:
        return f"{self.how}:{self.of}" if self.of else self.how

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Raises:
            UsageError: another way, or of something else.
        """
        how, colon, of = text.partition(":")
        if how not in HOWS:
            raise unknown("way to merge", how, HOWS)
        if colon and of not in get_args(Of)[1:]:
            raise unknown("thing to merge", of, get_args(Of)[1:])
        return cls(how, of)  # type: ignore[arg-type]

    def settled(self, activation: str) -> "Merge":
        """With what is merged, by the pipeline's activation where nothing was said.

        Raises:
            UsageError: a way that takes probabilities, and nothing says how to come to them.
        """
        of: Of = self.of or ("outputs" if activation == "none" else activation)  # type: ignore[assignment]
        if of == "outputs" and self.how in ("geometric", "vote"):
            raise UsageError(
                f"{self.how} takes probabilities, and the pipeline has no activation that makes any",
                f"say which: {self.how}:softmax or {self.how}:sigmoid",
            )
        return type(self)(self.how, of)


def merged(
    answers: Sequence[np.ndarray],
    merge: Merge,
    axis: int = -1,
    known: Sequence[np.ndarray | None] = (),
    weights: Sequence[float] = (),
) -> np.ndarray:
    """One answer of several, computed in f64, of the dtype of the first; of a single one, itself.

    Args:
        answers: floats, of one shape.
        merge: settled.
        axis: of the classes.
        known: where each holds, bool that broadcasts to it; None: everywhere. Somewhere at least one has to.
        weights: of each; none: equal. The maximum takes no account of them.
    """
    if len(answers) == 1:
        return answers[0]
    first = answers[0]
    rows = np.stack([np.asarray(a, np.float64) for a in answers])
    axis = axis % first.ndim + 1
    holds = np.stack([np.broadcast_to(True if k is None else k, first.shape) for k in known or [None] * len(answers)])
    shares = holds * np.reshape(np.asarray(weights or [1.0] * len(answers)), (-1, *[1] * first.ndim))
    shares = shares / shares.sum(axis=0)
    if merge.of == "outputs":
        made = (shares * rows).sum(axis=0) if merge.how == "mean" else np.where(holds, rows, -np.inf).max(axis=0)
    elif merge.how == "geometric":
        made = (shares * (_log_softmax(rows, axis) if merge.of == "softmax" else rows)).sum(axis=0)
    else:
        softly = merge.of == "softmax"
        scores = np.exp(_log_softmax(rows, axis)) if softly else 0.5 * (1 + np.tanh(rows / 2))
        made = _of_probabilities(scores, shares, holds, merge.how, axis if softly else None)
        made = np.log(np.maximum(made, _TINY)) if softly else _logit(made)
    return np.asarray(made.astype(first.dtype))


def _of_probabilities(
    scores: np.ndarray, shares: np.ndarray, holds: np.ndarray, how: How, axis: int | None
) -> np.ndarray:
    """[answers, ...] -> [...].

    Args:
        axis: of the classes, of which one is right; None: each for itself.
    """
    mean = np.asarray((shares * scores).sum(axis=0))
    if how == "mean":
        return mean
    if how == "max":
        return np.asarray(np.where(holds, scores, 0).max(axis=0))
    if axis is None:
        votes = scores >= 0.5
    else:
        best = np.expand_dims(scores.argmax(axis=axis), axis)
        votes = best == np.arange(scores.shape[axis]).reshape([-1 if a == axis else 1 for a in range(scores.ndim)])
    count = len(scores)
    return np.asarray((count * (shares * votes).sum(axis=0) + mean) / (count + 1))  # the mean never outweighs a vote


def _log_softmax(rows: np.ndarray, axis: int) -> np.ndarray:
    lower = rows - rows.max(axis=axis, keepdims=True)
    return np.asarray(lower - np.log(np.exp(lower).sum(axis=axis, keepdims=True)))


def as_logits(scores: np.ndarray, activation: str) -> np.ndarray:
    """Of scores f64, what the activation makes them of: sigmoid, or none."""
    return _logit(scores) if activation == "sigmoid" else scores


def _logit(scores: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(np.maximum(scores, _TINY)) - np.log(np.maximum(1 - scores, _TINY)))
