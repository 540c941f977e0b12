"""How well events are found: F1 within half a second, and how long it takes to tell."""

from collections.abc import Sequence

import numpy as np

from hasten import Answer, Metric

WITHIN_S = 0.5
COLUMNS = ("clip", "end_s", "crossing_s", "told")  # of a target: what each window is about; clip -1: of two clips


def matched(found: Sequence[float], true: Sequence[float]) -> list[tuple[float, float]]:
    """Pairs of an event and the crossing that it tells, each at most once, in the order of time; seconds."""
    pairs, left = [], sorted(found)
    for crossing in sorted(true):
        near = next((f for f in left if abs(f - crossing) <= WITHIN_S), None)
        if near is not None:
            left.remove(near)
            pairs.append((near, crossing))
    return pairs


def f1(hits: int, found: int, true: int) -> float:
    """The harmonic mean of precision and recall; 1 where there is nothing to find and nothing was found."""
    return 2 * hits / (found + true) if found + true else 1.0


def event_f1(answer: Answer) -> Metric:
    """F1 of the events that a pipeline's answer makes of windows, clip by clip.

    A row is [clip, end_s, crossing_s, logit]; `crossing_s` is that of the crossing since the window before, or -1. The
    figure is of summed counts, so that a clip without crossings counts by its false events.
    """

    def rows(outputs: dict[str, np.ndarray], target: np.ndarray) -> np.ndarray:
        logits = next(iter(outputs.values())).reshape(len(target), -1)[:, :1]
        return np.concatenate([target[:, :3], logits], axis=1)

    def total(rows: np.ndarray) -> float:
        hits = found = true = 0
        rows = rows[rows[:, 0] >= 0]
        ends = np.flatnonzero((np.diff(rows[:, 0]) != 0) | (np.diff(rows[:, 1]) <= 0)) + 1
        for part in np.split(rows, ends):
            times = np.round(part[:, 1] * 1e9).astype(np.int64)
            began = [e.begin / 1e9 for e in answer.events(times, part[:, 3:4])]
            crossings = part[part[:, 2] >= 0, 2].tolist()
            hits, found, true = hits + len(matched(began, crossings)), found + len(began), true + len(crossings)
        return f1(hits, found, true)

    return Metric("event F1", rows, total)
