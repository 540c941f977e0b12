"""Metrics against plain oracles, and the interval of a drop against simulation."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasten.errors import InputError, UsageError
from hasten.metric import METRICS, Metric, metric, paired_drop
from hasten.model import Signature, Tensor

RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(3000, 7)).astype(np.float32)
LABELS = RNG.integers(0, 7, 3000)


def rows(name: str, answer: np.ndarray, target: np.ndarray) -> np.ndarray:
    return metric(name).rows({"y": answer}, target)


def test_top1_and_top5_against_a_loop() -> None:
    top = [np.argsort(-s)[:5].tolist() for s in SCORES]
    assert rows("top1", SCORES, LABELS).tolist() == [float(t[0] == y) for t, y in zip(top, LABELS, strict=True)]
    assert rows("top5", SCORES, LABELS).tolist() == [float(y in t) for t, y in zip(top, LABELS, strict=True)]


def test_top5_of_fewer_than_five_classes_is_always_right() -> None:
    assert rows("top5", SCORES[:, :3], LABELS % 3).all()


def test_labels_at_every_position() -> None:
    scores, labels = SCORES[:2800].reshape(400, 7, 7), LABELS[:2800].reshape(400, 7)
    expected = [
        np.mean([s.argmax() == y for s, y in zip(ss, ys, strict=True)]) for ss, ys in zip(scores, labels, strict=True)
    ]
    assert np.allclose(rows("top1", scores, labels), expected, atol=1e-12)
    assert rows("top5", scores, labels).shape == (400,)
    assert rows("agreement", scores, scores + 1).tolist() == [1.0] * 400


def test_labels_in_a_column_are_labels() -> None:
    assert np.array_equal(rows("top1", SCORES, LABELS[:, None]), rows("top1", SCORES, LABELS))


def test_errors_and_angles() -> None:
    a, b = SCORES[:50], SCORES[50:100]
    assert np.allclose(
        rows("mse", a, b), [np.mean((x.astype(float) - y) ** 2) for x, y in zip(a, b, strict=True)], rtol=1e-12
    )
    assert np.allclose(
        rows("cosine", a, b),
        [np.dot(x, y) / math.sqrt(np.dot(x, x) * np.dot(y, y)) for x, y in zip(a, b, strict=True)],
        atol=1e-6,
    )
    assert rows("cosine", np.zeros((1, 3)), np.zeros((1, 3))).tolist() == [1.0]
    assert rows("cosine", np.zeros((1, 3)), np.ones((1, 3))).tolist() == [0.0]


def test_a_column_of_answers_is_not_spread_over_a_row_of_targets() -> None:
    answer = np.arange(5, dtype=np.float32)[:, None]
    assert rows("mse", answer, np.arange(5)).tolist() == [0.0] * 5


@pytest.mark.parametrize(
    ("name", "answer", "target", "words"),
    [
        ("top1", SCORES, LABELS + 1, "7 classes"),
        ("top1", SCORES, LABELS - 1, "labels run from -1"),
        ("top1", SCORES, LABELS.astype(float), "astype"),
        ("top1", SCORES, np.eye(7)[LABELS], "one label for each"),
        ("top1", SCORES[:, 0], LABELS, "needs scores"),
        ("top5", SCORES, LABELS[:5], "targets"),
        ("mse", SCORES, LABELS, "shape of the first output"),
        ("mse", SCORES, SCORES[:, :3], "shape of the first output"),
        ("cosine", SCORES[:6].reshape(6, 7), SCORES[:6].reshape(6, 7, 1)[:, ::-1, :][:, :6], "shape"),
        ("agreement", SCORES[:, 0], SCORES[:, 0], "mse or cosine"),
        ("agreement", SCORES, SCORES[:, :3], "cannot agree"),
    ],
)
def test_what_does_not_fit(name: str, answer: np.ndarray, target: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        rows(name, answer, target)


def signature(*shape: int | str) -> Signature:
    return Signature((Tensor("x", "float32", ("N", 4)),), (Tensor("y", "float32", shape),))


def test_without_labels_another_metric_is_offered() -> None:
    with pytest.raises(InputError, match="agreement"):
        metric("top1").check(None, signature("N", 7), "validate")
    for name in ("mse", "cosine", "agreement"):
        metric(name).check(None, signature("N", 7), "validate")


@pytest.mark.parametrize("bad", [LABELS + 1, -LABELS - 1, LABELS.astype(np.float32)])
def test_labels_are_looked_at_before_anything_runs(bad: np.ndarray) -> None:
    metric("top1").check(LABELS, signature("N", 7), "test")
    metric("top1").check(LABELS, signature("N", "C"), "test")
    with pytest.raises(InputError, match="test: labels"):
        metric("top1").check(bad, signature("N", 7), "test")


def test_names() -> None:
    assert all(metric(name).name == name for name in METRICS)
    with pytest.raises(UsageError, match="did you mean 'cosine'"):
        metric("cosin")


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
