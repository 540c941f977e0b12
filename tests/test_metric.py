"""Metrics against plain oracles."""

import math

import numpy as np
import pytest

from hasten.errors import InputError, UsageError
from hasten.metric import METRICS, metric
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
