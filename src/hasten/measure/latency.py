"""Latency, and how much faster one entrant is than another, from interleaved bursts in separate processes.

Time has four levels, each with a luck of its own: a *call*; a *burst* of calls; a *round*, in which every entrant has
one burst; a *launch*, a fresh process for every entrant. Calls of a burst resemble each other, so they are not
independent evidence and the round is the unit. A launch fixes where buffers and code lie in memory, which more rounds
do not show: with several launches the launch is the unit (Kalibera and Jones 2013, "Rigorous Benchmarking in
Reasonable Time": repeat at the highest level that varies).
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hasten.measure.lock import quiet

DROP = 5  # first calls of a burst, and more until those before it have gone to sleep: see Subject.burst
KEEP = 34  # calls of a burst: 20 rounds give the 662 that p99 needs
ROUNDS, LAUNCHES = 20, 9  # of 9 launches the second and the eighth hold the median with 96 %
ENOUGH_FOR_P99 = 662
"""The fewest samples of which at least two lie above the 99th percentile with 99 % certainty: the number at which
LoadGen's early stopping first allows a p99 (Reddi et al. 2020, "MLPerf Inference Benchmark")."""


class Bursts(Protocol):
    """What a race is made of: a Stand, or calls of this process."""

    varies: bool

    def burst(self, drop: int, keep: int) -> list[float]:
        """Times in ms of about `keep` calls in a row, after `drop` that do not count."""

    def relaunch(self) -> None:
        """Start over in a fresh process."""


@dataclass(frozen=True)
class Latency:
    """Of single calls, over all rounds and launches."""

    p50_ms: float
    p90_ms: float
    p99_ms: float | None  # None: too few samples
    samples: int
    mean_ms: float | None = None  # where the time depends on the sample: the median over bursts of a burst's mean

    @property
    def typical_ms(self) -> float:
        """By which entrants are compared: of times that depend on the sample the median says nothing."""
        return self.p50_ms if self.mean_ms is None else self.mean_ms


@dataclass(frozen=True)
class Speedup:
    """How many times as fast, with a 95 % interval; below 1 is slower."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Race:
    """What a race gave: times_ms[launch][round][entrant] is a burst's calls, in ms.

    Those of an entrant that `varies` go to easy and hard samples in the proportion of the data: their mean is what
    counts.
    """

    times_ms: Sequence[Sequence[Sequence[Sequence[float]]]]
    varies: frozenset[int] = frozenset()

    def latency(self, entrant: int) -> Latency:
        calls = np.concatenate([burst[entrant] for launch in self.times_ms for burst in launch])
        p50, p90, p99 = (float(p) for p in np.percentile(calls, (50, 90, 99)))
        means = [float(np.mean(burst[entrant])) for launch in self.times_ms for burst in launch]
        mean = float(np.median(means)) if entrant in self.varies else None
        return Latency(p50, p90, p99 if len(calls) >= ENOUGH_FOR_P99 else None, len(calls), mean)

    def speedup(self, entrant: int, over: int) -> Speedup:
        """The time of `over` divided by the time of `entrant`.

        In each round the medians of the two bursts are compared, or the means where one varies; in each launch the
        median of its rounds is taken. Of several launches: their median, with its order-statistic interval. Of one: the
        same of its rounds; it speaks of these processes only, not of what a restart would give.
        """
        middle_of = np.mean if self.varies & {entrant, over} else np.median
        logs = [
            [math.log(float(middle_of(burst[over])) / float(middle_of(burst[entrant]))) for burst in launch]
            for launch in self.times_ms
        ]
        low, middle, high = _of_median(logs[0] if len(logs) == 1 else [float(np.median(x)) for x in logs])
        return Speedup(math.exp(middle), math.exp(low), math.exp(high))


def race(stands: Sequence[Bursts], rounds: int = ROUNDS, launches: int = LAUNCHES, seed: int = 0) -> Race:
    """Time entrants against each other, holding the machine.

    Args:
        stands: warm ones; they come back relaunched where `launches` is more than 1.
        rounds: in all; divided over the launches. 20 are enough for a 95 % interval of the median.
        launches: processes an entrant has in turn. 1 is for a first look: its interval leaves out the luck of a launch.
        seed: of the order in which entrants start; it then rotates from round to round.
    """
    order = list(range(len(stands)))
    random.Random(seed).shuffle(order)
    times: list[list[list[list[float]]]] = []
    turn = 0
    with quiet():
        for launch in range(launches):
            if launch:
                for stand in stands:
                    stand.relaunch()
            times.append([])
            for _ in range(math.ceil(rounds / launches)):
                bursts: list[list[float]] = [[] for _ in stands]
                for i in rotated(order, turn):
                    bursts[i] = stands[i].burst(DROP, KEEP)
                times[-1].append(bursts)
                turn += 1
    return Race(times, frozenset(i for i, stand in enumerate(stands) if stand.varies))


def rotated(order: Sequence[int], turn: int) -> list[int]:
    """The order of a round: every entrant is first, second, ... equally often."""
    start = turn % len(order)
    return [*order[start:], *order[:start]]


def _of_median(values: Sequence[float]) -> tuple[float, float, float]:
    """The interval between two order statistics that holds the median with at least 95 %: low, median, high.

    It assumes no distribution (David and Nagaraja 2003, "Order Statistics", 7.1). Fewer than 6 values cannot have one.
    """
    n, ordered = len(values), sorted(values)
    outside, rank = 0.0, 0
    while outside + math.comb(n, rank) / 2**n <= 0.025:
        outside += math.comb(n, rank) / 2**n
        rank += 1
    middle = float(np.median(ordered))
    return (ordered[rank - 1], middle, ordered[n - rank]) if rank else (-math.inf, middle, math.inf)
