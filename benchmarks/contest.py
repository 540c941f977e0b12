"""Who holds the budget, and who is faster: a paired bootstrap and an interleaved race, in plain numpy."""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

ROUNDS, LAUNCHES = 5, 9  # rounds in each launch; a launch is a fresh process for everybody
BURST_S = 0.04  # what a burst's calls take together, about
REPEATS = 2000  # bootstrap resamples


class Runner(Protocol):
    """What can be raced."""

    def start(self) -> None: ...
    def burst(self, calls: int) -> list[float]: ...


def right(logits: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """1.0 where the first choice of logits [N, C] is the label [N], or the first choice of reference logits [N, C]."""
    return (logits.argmax(1) == (reference.argmax(1) if reference.ndim == 2 else reference)).astype(float)


def upper_drop(before: np.ndarray, after: np.ndarray, groups: np.ndarray | None, seed: int = 0) -> tuple[float, float]:
    """The mean drop from rows `before` to rows `after` [N], and the upper end of its 95 % interval over groups."""
    lost = before - after
    names, member = np.unique(np.arange(len(lost)) if groups is None else groups, return_inverse=True)
    total, size = np.bincount(member, lost), np.bincount(member)
    rng = np.random.default_rng(seed)
    drawn = (rng.integers(0, len(names), len(names)) for _ in range(REPEATS))
    drops = [total[d].sum() / size[d].sum() for d in drawn]
    return float(lost.mean()), float(np.quantile(drops, 0.975))


def race(runners: Sequence[Runner], rounds: int = ROUNDS, launches: int = LAUNCHES) -> np.ndarray:
    """Medians of bursts in ms, [launch, round, runner]; the order of the runners rotates from round to round."""
    medians = np.empty((launches, rounds, len(runners)))
    for launch in range(launches):
        if launch:
            for runner in runners:
                runner.start()
        calls = [max(10, min(200, math.ceil(BURST_S * 1e3 / float(np.median(r.burst(5)))))) for r in runners]
        for turn in range(rounds):
            for place in range(len(runners)):
                i = (place + turn + launch) % len(runners)
                medians[launch, turn, i] = np.median(runners[i].burst(calls[i]))
    return medians


def ratio(medians: np.ndarray, of: int, over: int) -> tuple[float, float, float]:
    """How many times as fast as `over` the runner `of` is: the median launch, and the launches second from either end.

    Of nine launches those two hold the true median with 96 %, whatever the distribution.
    """
    launches = sorted(np.exp(np.median(np.log(medians[..., over] / medians[..., of]), axis=1)))
    inner = 1 if len(launches) >= 9 else 0
    return float(np.median(launches)), float(launches[inner]), float(launches[-1 - inner])
