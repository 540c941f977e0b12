"""The interval of a drop against simulation."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasten.drop import paired_drop
from hasten.errors import InputError
from hasten.metric import METRICS, Metric, metric

# ---- the interval

MEAN = metric("top1")


def f1(counts: np.ndarray) -> float:
    true, predicted, both = counts.sum(0)
    return 2 * both / max(true + predicted, 1)


@pytest.mark.parametrize("size", [1, 5])
def test_the_interval_covers_the_truth(size: int) -> None:
    """80 worlds in which one right answer in 20 is lost; samples of a group share their luck.

    At 95 % each, fewer than 71 of 80 hold the truth once in 100 times (binomial).
    """
    covered = 0
    for world in range(80):
        rng = np.random.default_rng(world)
        luck = np.repeat(rng.random((300, 2)), size, axis=0)
        before = luck[:, 0] < 0.8
        after = before & (luck[:, 1] < 0.95)
        drop = paired_drop(MEAN, before.astype(float), after.astype(float), np.repeat(np.arange(300), size), world, 400)
        assert drop.n == 300
        covered += drop.low <= 0.8 * 0.05 <= drop.high
    assert covered >= 71


@pytest.mark.parametrize(
    ("groups", "size", "lost", "gained", "whole"),
    [(300, 1, 0.005, 0.0, False), (300, 1, 0.01, 0.01, False), (74, 6, 0.02, 0.005, False), (74, 6, 0.005, 0.0, True)],
)
def test_neither_end_misses_the_truth_where_few_change(
    groups: int, size: int, lost: float, gained: float, whole: bool
) -> None:
    """200 worlds; `whole`: a group changes as one. At 2.5 % an end, more than 10 of 200 miss once in 100 times."""
    over, under = 0, 0
    for world in range(200):
        rng = np.random.default_rng(world)
        luck = np.repeat(rng.random(groups), size) if whole else rng.random(groups * size)
        before = luck >= gained
        after = luck < 1 - lost
        member = np.repeat(np.arange(groups), size)
        drop = paired_drop(MEAN, before.astype(float), after.astype(float), member, world, 300)
        over += drop.high < lost - gained
        under += drop.low > lost - gained
    assert over <= 10
    assert under <= 10


def test_a_group_that_loses_a_little_is_not_taken_to_lose_all() -> None:
    """74 frames of 6 samples, 8 of which lose one: about 2 points, and no 5."""
    after = np.ones((74, 6))
    after[:8, 0] = 0
    drop = paired_drop(MEAN, np.ones(444), after.ravel(), np.repeat(np.arange(74), 6))
    assert drop.value == pytest.approx(8 / 444)
    assert -0.01 < drop.low < 0.01
    assert 0.025 < drop.high < 0.045


def test_groups_widen_the_interval_by_what_they_share() -> None:
    worse = np.repeat(np.random.default_rng(3).normal(0.1, 1, 100), 9)
    together = paired_drop(MEAN, np.zeros(900), -worse, np.repeat(np.arange(100), 9))
    apart = paired_drop(MEAN, np.zeros(900), -worse)
    assert (together.n, apart.n) == (100, 900)
    assert (together.high - together.low) / (apart.high - apart.low) == pytest.approx(3, rel=0.15)


def test_both_ways_to_resample_agree() -> None:
    """A mean written by the user goes through the general path; unequal groups in a jumbled order."""
    rng = np.random.default_rng(5)
    before, after, groups = rng.random(400), rng.random(400) - 0.1, rng.integers(0, 60, 400)
    own = Metric("own", MEAN.rows, total=lambda r: float(r.mean()))
    fast, general = paired_drop(MEAN, before, after, groups, 7), paired_drop(own, before, after, groups, 7)
    assert (fast.value, fast.low, fast.high) == pytest.approx((general.value, general.low, general.high), abs=1e-12)


def test_a_total_that_is_no_mean() -> None:
    rng = np.random.default_rng(6)
    truth = rng.random(600) < 0.3
    good, bad = (
        np.stack([truth, p, truth & p], 1).astype(float) for p in (truth ^ (rng.random(600) < q) for q in (0.05, 0.2))
    )
    drop = paired_drop(Metric("f1", MEAN.rows, f1), good, bad)
    assert drop.value == pytest.approx(f1(good) - f1(bad))
    assert 0 < drop.low < drop.value < drop.high


def test_lower_is_better_turns_the_sign() -> None:
    before, after = np.full(50, 1.0), np.full(50, 1.5)
    worse, better = paired_drop(metric("mse"), before, after), paired_drop(MEAN, before, after)
    assert (worse.low, worse.value, worse.high) == (0.5, 0.5, 0.5)
    assert (better.low, better.value, better.high) == (-0.5, -0.5, -0.5)


@given(st.integers(2, 40), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_a_model_against_itself_drops_nothing(n: int, seed: int) -> None:
    figures = np.random.default_rng(seed).random(n)
    drop = paired_drop(MEAN, figures, figures, seed=seed, repeats=50)
    assert (drop.value, drop.low, drop.high) == (0, 0, 0)


def test_one_group_says_nothing() -> None:
    drop = paired_drop(MEAN, np.ones(9), np.zeros(9), np.zeros(9, int))
    assert (drop.value, drop.low, drop.high, drop.n) == (1, -math.inf, math.inf, 1)


def test_seeds() -> None:
    before, after = np.random.default_rng(0).random((2, 200))
    assert paired_drop(MEAN, before, after, seed=1) == paired_drop(MEAN, before, after, seed=1)
    assert paired_drop(MEAN, before, after, seed=1) != paired_drop(MEAN, before, after, seed=2)


def test_pairs_only() -> None:
    with pytest.raises(InputError, match="same samples"):
        paired_drop(MEAN, np.ones(3), np.ones(4))


def test_ten_thousand_samples_are_fast() -> None:
    before, after = np.random.default_rng(0).random((2, 10_000))
    began = time.process_time()
    paired_drop(MEAN, before, after)
    assert time.process_time() - began < 2


def test_no_difference_among_few_is_no_proof() -> None:
    """20 right answers before and after: 95 % of the time, up to 17 % of all samples may differ."""
    drop = paired_drop(METRICS["top1"], np.ones(20), np.ones(20))
    assert (drop.low, drop.value, drop.high) == (pytest.approx(-0.168, abs=1e-3), 0, pytest.approx(0.168, abs=1e-3))


def test_a_loss_that_is_seen_is_not_doubted_for_want_of_samples() -> None:
    """60 of 1,000 right answers are lost: both ends are near 6 points, and a gain is as certain as a loss."""
    before, after = np.ones(1000), np.repeat([0.0, 1.0], [60, 940])
    drop, gain = paired_drop(METRICS["top1"], before, after), paired_drop(METRICS["top1"], after, before)
    assert (drop.low, drop.value, drop.high) == pytest.approx((0.045, 0.06, 0.075), abs=2e-3)
    assert (gain.low, gain.value, gain.high) == pytest.approx((-0.075, -0.06, -0.045), abs=2e-3)
