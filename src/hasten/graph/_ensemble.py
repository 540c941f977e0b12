"""What an ensemble of trees is held to while it is pruned: samples, the leaves that they reach, and a loss."""

from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np

from hasten.forest import Forest

Loss = Literal["squares", "logistic", "softmax"]
_FLAT = 1e-6  # the least curvature of a loss: where an answer is certain, a sample still counts a little


@dataclass(frozen=True, eq=False)
class Lesson:
    """N samples.

    Attributes:
        forest: T trees, K numbers in an answer.
        leaves: int32 [N, T].
        wanted: f64 [N, K], in units of the answer, or 1 for the right class where scores are not probabilities.
        loss: between scores and what is wanted.
        average: each tree is a predictor of its own, of which the ensemble is the mean; else they add up.
        numbers: what is wanted was measured, and is no class.
    """

    forest: Forest
    leaves: np.ndarray
    wanted: np.ndarray
    loss: Loss
    average: bool
    numbers: bool

    @classmethod
    def of(
        cls, forest: Forest, features: np.ndarray, wanted: np.ndarray | None, loss: Loss, numbers: bool = False
    ) -> Self:
        """
        Args:
            features: f32 [N, F].
            wanted, loss, numbers: as below; `wanted` None where only the ensemble itself can say: its own scores.
        """
        leaves = forest.leaves(features)
        if wanted is None:
            wanted, loss = _total(forest, leaves), "squares"
        average = loss == "squares" and _averages(forest, leaves, wanted)
        return cls(forest, leaves, wanted, loss, average, numbers)

    @property
    def scores(self) -> np.ndarray:
        """f64 [N, K]."""
        return _total(self.forest, self.leaves)

    def slopes(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and second derivative of the loss by each score, both like `scores` [..., N, K]."""
        if self.loss == "squares":
            return scores - self.wanted, np.ones_like(scores)
        p = _sigmoid(scores) if self.loss == "logistic" else _softmax(scores)
        return p - self.wanted, np.maximum(p * (1 - p), _FLAT)

    def cost(self, scores: np.ndarray) -> np.ndarray:
        """Mean loss of scores [..., N, K]: [...]."""
        if self.loss == "squares":
            each = np.square(scores - self.wanted) / 2
        elif self.loss == "logistic":
            each = np.logaddexp(0, scores) - self.wanted * scores
        else:
            top = scores.max(-1, keepdims=True)
            each = self.wanted * (top + np.log(np.exp(scores - top).sum(-1, keepdims=True)) - scores)
        return np.asarray(each.sum(-1).mean(-1))

    def chosen(self, trees: np.ndarray, factor: float) -> Self:
        """The same with some of the trees, each counted `factor` times."""
        return self._with(self.forest.chosen(trees, factor), np.isin(self.forest.tree, trees), self.leaves[:, trees])

    def _with(self, forest: Forest, kept: np.ndarray, leaves: np.ndarray) -> Self:
        return replace(self, forest=forest, leaves=(np.cumsum(kept) - 1)[leaves].astype(np.int32))


def _total(forest: Forest, leaves: np.ndarray) -> np.ndarray:
    made = np.tile(forest.base, (len(leaves), 1))
    for column in leaves.T:
        made += forest.value[column]
    return made


def _averages(forest: Forest, leaves: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether a tree alone, taken as often as there are trees, tells more than the mean does."""
    trees = leaves.shape[1]
    alone = [np.square(forest.base + trees * forest.value[column] - wanted).sum() for column in leaves.T]
    return trees > 1 and bool(np.median(alone) < np.square(wanted - wanted.mean(0)).sum())


def _sigmoid(scores: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(scores, -60, 60))))


def _softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))
