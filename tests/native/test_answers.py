"""Scores, classes and boxes against the oracle; decisions against Pipeline.decide; what is refused."""

import math
from typing import Any

import answers_oracle as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasten import Answer, Pipeline, _core

# Few values, so that many are equal; and those that break things.
VALUE = st.one_of(st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.5, 800.0, -800.0]), st.floats(-10, 10))
STRANGE = st.sampled_from([math.nan, math.inf, -math.inf, 1.0, 2.0])
ACTIVATION = st.sampled_from(["none", "softmax", "sigmoid"])


def rows_of(value: st.SearchStrategy[float]) -> st.SearchStrategy[np.ndarray]:
    width = st.shared(st.integers(1, 9), key="width")
    row = width.flatmap(lambda n: st.lists(value, min_size=n, max_size=n))
    return st.lists(row, min_size=1, max_size=5).map(np.array)


def best(rows: np.ndarray, *how: Any, **more: Any) -> list[list[int]]:
    found, ends = _core.top_k(rows, *how, **more)
    return [part.tolist() for part in np.split(found, ends[:-1])]


@settings(max_examples=200, deadline=None)
@given(rows_of(VALUE), ACTIVATION)
def test_the_scores_are_the_oracles(rows: np.ndarray, activation: str) -> None:
    scores = _core.activate(rows, activation)
    wanted = [oracle.scores(row, activation) for row in rows]
    # exp and tanh come from two libraries here, each good to an ulp or so; softmax adds up to nine of them.
    np.testing.assert_allclose(scores, wanted, rtol=16 * np.finfo(float).eps, atol=1e-300)
    if activation == "softmax":
        np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-14)


@settings(max_examples=300, deadline=None)
@given(rows_of(VALUE | STRANGE), ACTIVATION, st.integers(1, 10), st.sampled_from([None, 0.0, 0.123, 0.51, 1.2]))
@pytest.mark.filterwarnings("ignore:invalid value")
def test_the_decisions_are_the_pipelines(rows: np.ndarray, activation: Any, k: int, threshold: float | None) -> None:
    found = best(rows, k, threshold=threshold, activation=activation)
    assert found == [oracle.top_k(r, k, -math.inf if threshold is None else threshold, activation) for r in rows]
    pipeline = Pipeline(answer=Answer("classes", activation=activation, top_k=k, threshold=threshold))
    assert found == pipeline.decide({"y": rows})


def test_the_threshold_is_reached_by_an_equal_score() -> None:
    row = np.array([[0.25, 0.5, np.nextafter(0.5, 0)]])
    assert best(row, 3, threshold=0.5) == [[1]]
    assert best(np.zeros((1, 4)), 4, threshold=0.25, activation="softmax") == [[0, 1, 2, 3]]


def test_the_order_is_that_of_the_values_even_where_scores_are_equal() -> None:
    row = np.array([[800.0, 900.0, 850.0]])
    assert _core.activate(row, "sigmoid").tolist() == [[1.0, 1.0, 1.0]]
    assert best(row, 3, activation="sigmoid") == [[1, 2, 0]]


@pytest.mark.parametrize("activation", ["none", "softmax", "sigmoid"])
def test_what_is_no_number_is_never_reported(activation: str) -> None:
    row = np.array([[math.nan, 2.0, 1.0], [2.0, math.nan, 1.0]])
    wanted: list[list[int]] = [[], []] if activation == "softmax" else [[1, 2], [0, 2]]
    assert best(row, 3, activation=activation) == wanted
    assert best(row[:, :1] * math.nan, 1, activation=activation) == [[], []]


COORDINATE = st.integers(-2, 6).map(float)
BOX = st.tuples(COORDINATE, COORDINATE, st.integers(-1, 6), st.integers(-1, 6)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
BOXES = st.lists(st.tuples(BOX, st.sampled_from([0.1, 0.2, 0.5, 0.9, math.nan]) | st.floats(0, 1), st.integers(0, 2)))


@settings(max_examples=300, deadline=None)
@given(BOXES, st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0]), st.sampled_from([None, 0.0, 0.2, 0.5]))
def test_the_boxes_are_the_oracles(drawn: list[Any], iou: float, threshold: float | None) -> None:
    boxes = np.array([b for b, _, _ in drawn], np.float64).reshape(-1, 4)
    scores = np.array([s for _, s, _ in drawn], np.float64)
    labels = np.array([n for _, _, n in drawn], np.int32)
    kept = _core.suppress(boxes, scores, labels, iou=iou, threshold=threshold)
    wanted = oracle.suppress(boxes, scores, labels, iou, -math.inf if threshold is None else threshold)
    assert kept.tolist() == wanted
    assert not np.isnan(scores[kept]).any()
    assert (np.diff(scores[kept]) <= 0).all()


def test_boxes_that_are_no_numbers_cover_nothing() -> None:
    boxes = np.array([[0, 0, 2, 2], [0, 0, math.nan, 2], [-math.inf, 0, math.inf, 2], [0, 0, 2, 2]])
    kept = _core.suppress(boxes, np.array([0.9, 0.8, 0.7, 0.6]), np.zeros(4, np.int32), iou=0.0)
    assert kept.tolist() == [0, 1, 2]


ROW = np.zeros((1, 3))
BOX4, SCORE1, LABEL1 = np.zeros((1, 4)), np.zeros(1), np.zeros(1, np.int32)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: _core.activate(ROW.astype(np.float32), "none"),
            "rows has to be a float64 array [N, classes] without gaps",
        ),
        (lambda: _core.activate(ROW[0], "none"), "rows has to be a float64 array [N, classes] without gaps"),
        (lambda: _core.activate(ROW, "relu"), "activation is relu; it has to be one of none, softmax, sigmoid"),
        (lambda: _core.top_k(ROW, 0), "k is 0; it has to be at least 1"),
        (lambda: _core.top_k(ROW, threshold=math.nan), "threshold is no number; None is for none"),
        (lambda: _core.suppress(SCORE1, SCORE1, LABEL1), "boxes has to be a float64 array [N, 4] without gaps"),
        (
            lambda: _core.suppress(BOX4, np.zeros(2), LABEL1),
            "scores has to be a float64 array, one for each box, without gaps",
        ),
        (
            lambda: _core.suppress(BOX4, SCORE1, np.zeros(1, np.int64)),
            "labels has to be an int32 array, one for each box, without gaps",
        ),
        (lambda: _core.suppress(BOX4, SCORE1, LABEL1, iou=1.5), "iou has to be between 0 and 1"),
        (lambda: _core.suppress(BOX4, SCORE1, LABEL1, iou=math.nan), "iou has to be between 0 and 1"),
    ],
)
def test_what_means_nothing_is_refused(call: Any, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        call()
    assert str(caught.value) == sentence


def test_nothing_in_nothing_out() -> None:
    assert _core.activate(np.zeros((0, 3)), "softmax").shape == (0, 3)
    found, ends = _core.top_k(np.zeros((0, 3)), 2)
    assert (len(found), len(ends)) == (0, 0)
    assert best(np.zeros((2, 0)), 1, activation="softmax") == [[], []]
    assert _core.suppress(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int32)).tolist() == []
