"""Statistics on times that are made up, so that the truth is known; and the order of a race."""

import math

import numpy as np
import pytest
from scipy import stats

from hasten.measure import latency
from hasten.measure.latency import DROP, ENOUGH_FOR_P99, KEEP, Race, Speedup, race, rotated

CALLS = 7


def simulated(
    rng: np.random.Generator, ratio: float, launches: int, rounds: int, launch_sd: float, round_sd: float
) -> Race:
    """Two entrants of 1 ms and 1/`ratio` ms. Luck of a launch and of a round is log-normal; both share a drift."""
    base = np.log([1.0, 1.0 / ratio])[:, None]
    times = []
    for _ in range(launches):
        launch = base + rng.normal(0, launch_sd, (2, 1)) + rng.normal(0, 0.05)
        times.append([
            np.exp(launch + rng.normal(0, round_sd, (2, 1)) + rng.exponential(0.02, (2, CALLS))).tolist()
            for _ in range(rounds)
        ])  # fmt: skip
    return Race(times)


def covered(ratio: float, launches: int, rounds: int, launch_sd: float, repeats: int = 300) -> float:
    """How often the interval holds the truth."""
    rng = np.random.default_rng(launches)
    found = [simulated(rng, ratio, launches, rounds, launch_sd, 0.03).speedup(1, over=0) for _ in range(repeats)]
    return float(np.mean([s.low <= ratio <= s.high for s in found]))


@pytest.mark.parametrize("launches", [6, 9, 12])
def test_the_interval_over_launches_holds_the_truth_as_often_as_it_says(launches: int):
    assert covered(1.3, launches, rounds=4, launch_sd=0.04) == pytest.approx(0.95, abs=0.038)  # 3 s.e. of 300 repeats


def test_the_interval_over_rounds_does_so_where_a_launch_brings_no_luck():
    assert covered(0.8, launches=1, rounds=20, launch_sd=0.0) == pytest.approx(0.96, abs=0.038)


def test_rounds_alone_do_not_show_the_luck_of_a_launch():
    """Why there are launches: the interval over rounds is far too sure of itself."""
    assert covered(1.0, launches=1, rounds=20, launch_sd=0.04) < 0.5


def test_a_copy_is_as_fast_and_a_slower_one_slower():
    rng = np.random.default_rng(0)
    same = [simulated(rng, 1.0, 9, 3, 0.02, 0.02).speedup(1, over=0) for _ in range(20)]
    slow = [simulated(rng, 1 / 1.15, 9, 3, 0.02, 0.02).speedup(1, over=0) for _ in range(20)]
    assert sum(s.low < 1 < s.high for s in same) >= 17
    assert sum(s.high < 1 for s in slow) >= 17
    assert np.mean([s.value for s in slow]) == pytest.approx(1 / 1.15, rel=0.02)


def test_speedup_turns_round_with_its_direction():
    result = simulated(np.random.default_rng(1), 2.0, 9, 3, 0.03, 0.03)
    there, back = result.speedup(1, over=0), result.speedup(0, over=1)
    assert (1 / back.value, 1 / back.high, 1 / back.low) == pytest.approx((there.value, there.low, there.high))
    assert result.speedup(0, over=0) == Speedup(1, 1, 1)


def test_drift_that_all_share_is_not_in_the_interval():
    """The machine slows down threefold during the race."""
    slowing = Race([[[[1.0 * f] * 5, [0.5 * f] * 5] for f in np.linspace(1 + k, 2 + k, 5)] for k in range(6)])
    assert vars(slowing.speedup(1, over=0)) == pytest.approx({"value": 2, "low": 2, "high": 2})


def test_a_disturbed_round_does_not_move_the_speedup():
    rounds = [[[1.0] * 5, [0.5] * 5] for _ in range(7)] + [[[1.0] * 5, [9.0] * 5]]
    assert Race([rounds, rounds, rounds]).speedup(1, over=0).value == pytest.approx(2)


def test_a_disturbed_launch_does_not_move_the_speedup_nor_its_interval():
    quiet, disturbed = [[[1.0] * 5, [0.5] * 5]] * 3, [[[1.0] * 5, [9.0] * 5]] * 3
    assert vars(Race([*[quiet] * 8, disturbed]).speedup(1, over=0)) == pytest.approx({"value": 2, "low": 2, "high": 2})


@pytest.mark.parametrize("n", [6, 9, 20, 25, 40])
def test_order_statistics_hold_the_median(n: int):
    """By the binomial distribution: the ranks found are right, and the next ones inside would not do."""
    low, _, high = latency._of_median(list(range(n)))
    assert low + high == n - 1
    assert stats.binom.cdf(low, n, 0.5) <= 0.025 < stats.binom.cdf(low + 1, n, 0.5)


def test_five_rounds_have_no_interval():
    result = Race([[[[1.0], [2.0]]] * 5]).speedup(1, over=0)
    assert (result.value, result.low, result.high) == (0.5, 0.0, math.inf)


def test_two_launches_are_no_evidence():
    result = Race([[[[1.0], [1.0]]] * 5, [[[1.0], [1.05]]] * 5]).speedup(1, over=0)
    assert (result.low, result.high) == (0.0, math.inf)


def test_percentiles_are_of_all_calls():
    calls = np.random.default_rng(0).permutation(np.arange(1.0, 1001.0))
    parts = [[part.tolist()] for part in np.split(calls, 20)]
    found = Race([parts[:10], parts[10:]]).latency(0)
    assert (found.p50_ms, found.samples) == (500.5, 1000)
    assert (found.p90_ms, found.p99_ms) == (pytest.approx(900, abs=1), pytest.approx(990, abs=1))


def test_p99_needs_enough_samples():
    def found(n: int) -> float | None:
        return Race([[[[1.0] * n]]]).latency(0).p99_ms

    assert found(ENOUGH_FOR_P99 - 1) is None
    assert found(ENOUGH_FOR_P99) == 1.0


def test_enough_for_p99_follows_from_its_rule():
    """At most one sample above p99 with less than 1 % probability, from this number on."""
    assert stats.binom.cdf(1, ENOUGH_FOR_P99, 0.01) <= 0.01 < stats.binom.cdf(1, ENOUGH_FOR_P99 - 1, 0.01)
    assert latency.ROUNDS * KEEP >= ENOUGH_FOR_P99


class Runner:
    """Stands in for a Stand: writes down what it is asked."""

    varies = False

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log
        self.process = 0

    def burst(self, drop: int, keep: int) -> list[float]:
        assert (drop, keep) == (DROP, KEEP)
        self.log.append(self.name)
        return [float(self.process)] * keep

    def relaunch(self) -> None:
        self.process += 1
        self.log.append(self.name.upper())


def test_a_race_rotates_and_relaunches():
    log: list[str] = []
    runners = [Runner(n, log) for n in "abc"]
    result = race(runners, rounds=7, launches=3)
    launches = "".join(log).split("ABC")
    assert [len(x) for x in launches] == [9, 9, 9]  # 7 rounds over 3 launches: 3 each
    rounds = [x[i : i + 3] for x in launches for i in (0, 3, 6)]
    assert all(sorted(r) == ["a", "b", "c"] for r in rounds)
    assert all(len({r[place] for r in rounds[i : i + 3]}) == 3 for place in range(3) for i in (0, 3, 6))
    assert [launch[0][1][0] for launch in result.times_ms] == [0, 1, 2]
    assert result.latency(2).samples == 9 * KEEP


def test_the_seed_decides_who_starts():
    def first(seed: int) -> str:
        log: list[str] = []
        race([Runner(n, log) for n in "abcdef"], rounds=1, launches=1, seed=seed)
        return "".join(log)

    assert first(1) == first(1)
    assert len({first(seed) for seed in range(8)}) > 1


def test_rotation_gives_each_every_place():
    turns = [rotated([2, 0, 1], t) for t in range(3)]
    assert turns == [[2, 0, 1], [0, 1, 2], [1, 2, 0]]


def test_where_one_varies_means_are_compared() -> None:
    """Nine quick calls and a slow one: the median says nothing of the slow one."""
    plain, mixed = [2.0] * 10, [1.0] * 9 + [5.0]
    for varies, gain in ((frozenset({1}), 2.0 / 1.4), (frozenset(), 2.0)):
        found = Race([[[plain, mixed]] * 20], varies)
        assert found.speedup(1, over=0).value == pytest.approx(gain)
        assert found.latency(1).typical_ms == pytest.approx(1.4 if varies else 1.0)
    assert Race([[[plain, mixed]] * 20], frozenset({1})).latency(0).typical_ms == 2.0
