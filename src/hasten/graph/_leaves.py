"""Cost-complexity pruning of an ensemble (Breiman et al. 1984, chapter 3): which branches become leaves.

A branch goes where what it lowers the loss by is worth less than `price` a leaf. The price is found at which so many
nodes stay; the trees it leaves are those that cutting the weakest link again and again would leave.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np

from hasten.forest import Forest
from hasten.graph._ensemble import Lesson

_STEPS = 30  # by which the price is narrowed down, each halving what is left
_DEAREST = 2.0**100
_NEAR = 0.97  # of the nodes that may stay: no price between gives more
_OWN = 1e-3  # of a sample, which each leaf has of itself, so that one that nobody reaches still says something
_Cutter = Callable[[float], Forest]


def cut(lesson: Lesson, keep: int) -> Forest:
    """The ensemble with at most `keep` nodes, or with a leaf a tree where that is more."""
    make = _alone(lesson) if lesson.average and lesson.numbers else _in_turn(lesson)
    keep = max(keep, lesson.leaves.shape[1])
    low, high = 0.0, 1e-6
    while len((best := make(high)).tree) > keep and high < _DEAREST:
        low, high = high, high * 64
    for _ in range(_STEPS):
        if len(best.tree) >= _NEAR * keep or high - low < 1e-6 * high:
            break
        middle = (low + high) / 2 if low > high / 4 else max((low * high) ** 0.5, high / 8)
        made = make(middle)
        if len(made.tree) <= keep:
            best, high = made, middle
        else:
            low = middle
    return best


@dataclass(frozen=True, eq=False)
class _Costs:
    """What trees lose where they are cut.

    Attributes:
        forest: M nodes, K numbers in an answer.
        levels: nodes of equal depth, deepest first, without leaves.
        loss: f64 [M], by how much the loss is larger where the node is a leaf than with all that is below it.
        value: f64 [M, K], the leaf that loses least; of a leaf, its own.
    """

    forest: Forest
    levels: list[np.ndarray]
    loss: np.ndarray
    value: np.ndarray

    @classmethod
    def of(cls, forest: Forest, levels: list[np.ndarray], bend: np.ndarray, slope: np.ndarray, bounded: bool) -> Self:
        """
        Args:
            bend, slope: f64 [M, K], in leaves: second and first derivatives of the loss, summed over their samples.
            bounded: a value stays between those of the leaves that it stands for.
        """
        leaf, w = forest.leaf, forest.value
        h = np.where(leaf[:, None], bend + _OWN, 0)
        sums = np.stack([h, w * h - slope, w * w * h - 2 * w * slope])
        lowest, highest = w.copy(), w.copy()
        for at in levels:
            yes, no = forest.yes[at], forest.no[at]
            sums[:, at] = sums[:, yes] + sums[:, no]
            lowest[at], highest[at] = np.minimum(lowest[yes], lowest[no]), np.maximum(highest[yes], highest[no])
        h, moved, square = sums
        value = moved / h
        if bounded:
            value = np.clip(value, lowest, highest)
        value[leaf] = w[leaf]
        loss = (square - 2 * value * moved + value * value * h).sum(1) / 2
        return cls(forest, levels, np.where(leaf, 0.0, loss), value)

    def dear(self, price: float) -> np.ndarray:
        """bool [M]: branches that are not worth `price` a leaf, from the leaves upwards."""
        best, gone = np.full(len(self.loss), price), np.zeros(len(self.loss), bool)
        for at in self.levels:
            below, own = best[self.forest.yes[at]] + best[self.forest.no[at]], self.loss[at] + price
            gone[at], best[at] = own <= below, np.minimum(own, below)
        return gone


def _branches(forest: Forest) -> list[np.ndarray]:
    return [at[~forest.leaf[at]] for at in reversed(list(forest.levels()))]


def _sums(at: np.ndarray, of: np.ndarray, count: int) -> np.ndarray:
    """f64 [count, K]: rows [N, K] summed by the place [N] that they belong to."""
    return np.stack([np.bincount(at, column, count) for column in of.T], 1)


def _alone(lesson: Lesson) -> _Cutter:
    """Each tree for itself: of each is wanted what is wanted of all.

    For the mean of trees that tell numbers: in view of each other they would learn the noise of the labels by heart.
    """
    forest, trees = lesson.forest, lesson.leaves.shape[1]
    own = (lesson.wanted - forest.base) / trees
    bend, wanted = np.zeros_like(forest.value), np.zeros_like(forest.value)
    for column in lesson.leaves.T:
        bend += np.bincount(column, minlength=len(bend))[:, None]
        wanted += _sums(column, own, len(bend))
    costs = _Costs.of(forest, _branches(forest), bend, forest.value * bend - wanted, bounded=False)
    return lambda price: forest.pruned(costs.dear(price), costs.value)


def _in_turn(lesson: Lesson) -> _Cutter:
    """Each tree in view of what those before it have become: a Newton step on the loss of all together."""
    forest = lesson.forest
    single = [forest.chosen(np.array([tree])) for tree in range(lesson.leaves.shape[1])]
    levels, reached = [_branches(one) for one in single], lesson.leaves - forest.root

    def make(price: float) -> Forest:
        scores, gone, values = lesson.scores, [], []
        for one, own, at in zip(single, levels, reached.T, strict=True):
            slope, bend = lesson.slopes(scores)
            bends, slopes = (_sums(at, of, len(one.tree)) for of in (bend, slope))
            costs = _Costs.of(one, own, bends, slopes, bounded=True)
            gone.append(costs.dear(price))
            values.append(costs.value)
            scores = scores + costs.value[one.ends(gone[-1])[at]] - one.value[at]
        return forest.pruned(np.concatenate(gone), np.concatenate(values))

    return make
