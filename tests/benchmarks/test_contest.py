"""The benchmark's own judge and race, against figures that are known without them."""

import numpy as np
import pytest

from contest import race, ratio, right, upper_drop


class Clock:
    """A runner whose calls all take `ms`; it writes down when it is called."""

    def __init__(self, name: str, ms: float, log: list[str]) -> None:
        self.name, self.ms, self.log = name, ms, log

    def start(self) -> None:
        self.log.append(f"start {self.name}")

    def burst(self, calls: int) -> list[float]:
        self.log.append(self.name)
        return [self.ms] * calls


def test_right_compares_with_labels_or_with_another_models_choice() -> None:
    logits = np.array([[0.1, 0.9], [0.8, 0.2]])
    assert right(logits, np.array([1, 1])).tolist() == [1, 0]
    assert right(logits, np.array([[3.0, 4.0], [5.0, 1.0]])).tolist() == [1, 1]


def test_the_upper_end_agrees_with_the_normal_approximation() -> None:
    rng = np.random.default_rng(0)
    before = (rng.random(5000) < 0.93).astype(float)
    after = np.where(rng.random(5000) < 0.03, 1 - before, before)
    lost, upper = upper_drop(before, after, None)
    difference = before - after
    error = difference.std() / np.sqrt(len(difference))
    assert lost == pytest.approx(difference.mean())
    assert upper == pytest.approx(lost + 1.96 * error, abs=0.15 * error)  # Monte Carlo of a quantile from 2000 draws


def test_samples_of_a_group_count_once() -> None:
    rng = np.random.default_rng(1)
    after = (rng.random(200) < 0.9).astype(float)
    alone = upper_drop(np.ones(200), after, None)
    tenfold = upper_drop(np.ones(2000), np.repeat(after, 10), np.repeat(np.arange(200), 10))
    assert tenfold == pytest.approx(alone)


def test_everybody_is_first_equally_often_and_starts_afresh() -> None:
    log: list[str] = []
    runners = [Clock(n, 5.0, log) for n in "abc"]
    race(runners, rounds=3, launches=2)
    second = log[log.index("start a") + 3 :]
    rounds = ["".join(second[3 + 3 * i : 6 + 3 * i]) for i in range(3)]
    assert {r[0] for r in rounds} == set("abc")
    assert [line for line in log if line.startswith("start")] == ["start a", "start b", "start c"]


def test_the_ratio_is_how_many_times_as_fast() -> None:
    medians = race([Clock("a", 2.0, []), Clock("b", 5.0, [])], rounds=2, launches=3)
    assert ratio(medians, of=0, over=1) == pytest.approx((2.5, 2.5, 2.5))


def test_the_interval_leaves_out_one_launch_at_either_end() -> None:
    medians = np.ones((9, 4, 2))
    medians[..., 1] = np.array([7.0, 2.0, 3.0, 1.0, 9.0, 5.0, 4.0, 8.0, 6.0])[:, None]
    assert ratio(medians, of=0, over=1) == pytest.approx((5, 2, 8))
    assert ratio(medians[:3], of=0, over=1) == pytest.approx((3, 2, 7))
