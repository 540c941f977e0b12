"""Which views are worth their time: each measured beside the plain look, then a set chosen greedily on validate."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hasten.data import Data
from hasten.drop import Drop, paired_drop
from hasten.engine import Session
from hasten.errors import UsageError
from hasten.flow import answer
from hasten.measure.accuracy import batch_size
from hasten.measure.calls import Calls
from hasten.measure.latency import Race, race
from hasten.metric import Metric
from hasten.model import Arrays
from hasten.offline.views.fold import Seen, Views
from hasten.offline.views.fusion import in_shares
from hasten.offline.views.view import View, parse, spread
from hasten.pipeline import Pipeline
from hasten.search.progress import Progress, Silent

USUAL = "hflip,vflip,rot90,rot180,rot270,scale=0.9,scale=1.1,crop=0.9,shift=1,shift=2"
PIECE = 256  # samples whose views are in memory at a time
SAID = 8  # pieces after which it is told how far it is
FEEDS, ROUNDS = 16, 20  # real samples that timed calls rotate through, and rounds of the race


@dataclass(frozen=True)
class Looker:
    """What looks: a session, on data that has labels.

    Attributes:
        validate, test: prepared; test may be missing.
    """

    session: Session
    pipeline: Pipeline
    metric: Metric
    validate: Data
    test: Data | None = None

    def infer(self, feed: Arrays) -> dict[str, np.ndarray]:
        """Outputs of any number of samples."""
        return answer(self.session, feed)


def greedy(
    looker: Looker, words: str = "", merge: str = "mean", *, seed: int = 0, progress: Progress | None = None
) -> dict[str, Any]:
    """Measure views, and choose a set of them.

    Each view is measured beside the plain look: what the two together gain on validate, paired, and what they cost,
    timed in turns with the plain call in this process, views and merging included. Then the view that helps most is
    added, again and again, until none raises the metric on validate. The set meets test once.

    Args:
        words: views to choose from, as hasten.offline.views.view.parse reads them; empty: USUAL, less what this network
            cannot take.
        merge: see Merge.
        seed: of the intervals, and of the order in which calls take turns.

    Returns:
        metric; merge; samples of each part; plain (validate, test, p50_ms); views, each with a reason why it was left
        out or with accuracy, gain, gain_ci95, runs, cost, cost_ci95; steps, the views in the order in which they were
        added, with the accuracy so far; chosen (views, tta, runs, cost, cost_ci95, and of validate and test accuracy,
        gain, gain_ci95). Gains are in the metric's unit, positive is better; costs are times of a plain call.

    Raises:
        UsageError: no labels; a view that was named and that this network cannot take; or none that it can.
    """
    progress = progress or Silent()
    if looker.metric.reference or looker.validate.target is None or (looker.test and looker.test.target is None):
        raise UsageError("without labels nothing says whether a view helps", "give a task with labels and their metric")
    shares = _shares(looker)
    able, refused = _able(looker, words, merge, shares)
    plan = Views.of(able, looker.session.signature, looker.pipeline, merge, shares)
    progress.stage(f"{len(plan.views)} views of {len(looker.validate)} samples")
    judge = _Judge(looker, plan, looker.validate, seed, progress)
    order = judge.added()
    progress.stage("timing views")
    timed = _timed(looker, [[0], *([0, i] for i in range(1, len(plan.views))), [0, *order]], plan, seed)
    rows = []
    for i, view in enumerate(plan.views[1:], 1):
        cost = _cost(timed, i)
        rows.append({"view": str(view), "reason": "", **judge.told([0, i]), "runs": 2, **cost})
    chosen = [plan.views[i] for i in (0, *order)]
    result: dict[str, Any] = {
        "metric": {"name": looker.metric.name, "higher_is_better": looker.metric.higher_is_better},
        "merge": str(plan.merge),
        "samples": {"validate": len(looker.validate), "test": len(looker.test) if looker.test else 0},
        "plain": {"validate": judge.accuracy([0]), "test": None, "p50_ms": timed.latency(0).p50_ms},
        "views": rows + [{"view": str(view), "reason": reason} for view, reason in refused],
        "steps": [
            {"view": str(plan.views[i]), "accuracy": judge.accuracy([0, *order[: n + 1]])} for n, i in enumerate(order)
        ],
        "chosen": {
            "views": [str(v) for v in chosen],
            "tta": ",".join(str(v) for v in chosen[1:]),
            "runs": len(chosen),
            **_cost(timed, len(plan.views)),
            "validate": judge.told([0, *order]),
            "test": None,
        },
    }
    if looker.test is not None and order:
        progress.stage(f"the chosen views of {len(looker.test)} test samples")
        final = Views.of(chosen, looker.session.signature, looker.pipeline, merge, shares)
        last = _Judge(looker, final, looker.test, seed, progress)
        result["plain"] |= {"test": last.accuracy([0])}
        result["chosen"] |= {"test": last.told(list(range(len(chosen))))}
    return result


class _Judge:
    """Every view of a part of the data, answered once; then any set of them is judged without running anything."""

    def __init__(self, looker: Looker, plan: Views, data: Data, seed: int, progress: Progress) -> None:
        self._plan, self._metric, self._data, self._seed = plan, looker.metric, data, seed
        assert data.target is not None
        self._target = np.asarray(data.target)
        self._seen = _seen(looker, plan, data, progress)
        self._rows: dict[tuple[int, ...], np.ndarray] = {}

    def rows(self, members: Sequence[int]) -> np.ndarray:
        key = tuple(sorted(members))
        if key not in self._rows:
            outputs = self._plan.merged([self._seen[i] for i in key])
            self._rows[key] = self._metric.rows(outputs, self._target)
        return self._rows[key]

    def accuracy(self, members: Sequence[int]) -> float:
        return float(self._metric.total(self.rows(members)))

    def told(self, members: Sequence[int]) -> dict[str, Any]:
        """How good a set is, and what it gains over the plain look."""
        drop: Drop = paired_drop(self._metric, self.rows([0]), self.rows(members), self._data.groups, self._seed)
        finite = np.isfinite([drop.low, drop.high]).all()
        interval = [-drop.high, -drop.low] if finite else None
        return {"accuracy": self.accuracy(members), "gain": 0.0 - drop.value, "gain_ci95": interval}

    def added(self) -> list[int]:
        """The views in the order in which they help most, until none does."""
        order: list[int] = []
        while True:
            now = self.accuracy([0, *order])
            left = [i for i in range(1, len(self._plan.views)) if i not in order]
            gains = {i: -self._metric.drop(now, self.accuracy([0, *order, i])) for i in left}
            best = max(gains, key=lambda i: gains[i], default=0)
            if not best or gains[best] <= 0:
                return order
            order.append(best)


def _able(looker: Looker, words: str, merge: str, shares: bool) -> tuple[list[View], list[tuple[View, str]]]:
    """The views that this network can take, and of those that nobody named the others, with the reason."""
    clip = looker.pipeline.window is not None
    able, refused = [], []
    for view in spread(parse(words or USUAL), clip)[1:]:
        try:
            Views.of([view], looker.session.signature, looker.pipeline, merge, shares)
        except UsageError as fault:
            if words:
                raise
            refused.append((view, str(fault)))
        else:
            able.append(view)
    if not able:
        raise UsageError(refused[0][1])
    return able, refused


def _seen(looker: Looker, plan: Views, data: Data, progress: Progress) -> list[Seen]:
    """The outputs for each view of all samples."""
    size, began = batch_size(looker.session, data), time.monotonic()
    parts: list[list[Seen]] = []
    for feed in data.batches(PIECE):
        done = PIECE * len(parts)
        left_s = (len(data) - done) * (time.monotonic() - began) / max(1, done)
        if len(parts) % SAID == 1:
            progress.trial(done, len(data), f"samples, {len(plan.views)} views of each", left_s)
        parts.append(plan.seen(looker.infer, feed, size))

    def joined(view: int, name: str) -> tuple[np.ndarray, np.ndarray | None]:
        backs = [part[view][name] for part in parts]
        return np.concatenate([array for array, _ in backs]), backs[0][1]

    return [{name: joined(v, name) for name in parts[0][v]} for v in range(len(plan.views))]


def _shares(looker: Looker) -> bool:
    """Whether boxes come as shares of height and width, by what the network says of a few samples."""
    if looker.pipeline.answer.kind != "boxes":
        return False
    outputs = looker.infer(next(looker.validate.batches(FEEDS)))
    return in_shares([list(outputs.values())[1]])


def _timed(looker: Looker, sets: Sequence[Sequence[int]], plan: Views, seed: int) -> Race:
    """A race of these sets of views, on single samples."""
    few = looker.validate.spread(FEEDS)
    feeds = list(few.batches(1))

    def way(members: Sequence[int]) -> Callable[[Arrays], Mapping[str, np.ndarray]]:
        some = replace(plan, views=tuple(plan.views[i] for i in members))
        return lambda feed: some.answers(looker.infer, feed)

    return race([Calls(way(s), feeds) for s in sets], ROUNDS, launches=1, seed=seed)


def _cost(timed: Race, entrant: int) -> dict[str, Any]:
    """In times of the plain call."""
    times = timed.speedup(0, entrant)
    return {"cost": times.value, "cost_ci95": [times.low, times.high]}
