"""Ensemble pruning by ordered aggregation (Martinez-Munoz and Suarez 2006): which trees stay."""

from typing import Literal

import numpy as np

from hasten.graph._ensemble import Lesson

Order = Literal["greedy", "first"]
_STEPS = 8  # of Newton, for one number


def chosen(lesson: Lesson, keep: int, order: Order) -> Lesson:
    """Trees with at most `keep` nodes in all, one at least, that count for those that went.

    In a mean each tree counts as often as its share asks for; trees that add up are scaled by the one factor that
    lowers the loss most.
    """
    sizes, trees = np.bincount(lesson.forest.tree), lesson.leaves.shape[1]
    answers = np.stack([lesson.forest.value[column].astype(np.float32).reshape(-1) for column in lesson.leaves.T])
    squares = np.square(answers)
    kept: list[int] = []
    left = np.ones(trees, bool)
    total = np.zeros(answers.shape[1], np.float32)
    while (able := left & (sizes <= keep - sizes[kept].sum())).any():
        best = int(able.argmax())
        if order == "greedy":
            factor = trees / (len(kept) + 1) if lesson.average else 1.0
            slope, bend = (s.reshape(-1).astype(np.float32) for s in lesson.slopes(_scores(lesson, factor * total)))
            best = int(np.where(able, factor * (answers @ slope) + factor**2 / 2 * (squares @ bend), np.inf).argmin())
        kept.append(best)
        left[best] = False
        total += answers[best]
    kept = sorted(kept) or [int(sizes.argmin())]
    most = trees / len(kept)
    return lesson.chosen(np.array(kept), most if lesson.average else _scale(lesson, total, most))


def _scores(lesson: Lesson, total: np.ndarray) -> np.ndarray:
    """f64 [N, K]."""
    return np.asarray(lesson.forest.base + total.reshape(len(lesson.leaves), -1).astype(np.float64))


def _scale(lesson: Lesson, total: np.ndarray, most: float) -> float:
    """Between 1 and `most`, by which what is left loses least."""
    factor = 1.0
    for _ in range(_STEPS):
        slope, bend = (s.reshape(-1) for s in lesson.slopes(_scores(lesson, factor * total)))
        factor = float(np.clip(factor - slope @ total / max(1e-12, float(bend @ np.square(total))), 1.0, most))
    return factor
