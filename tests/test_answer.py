"""Answers as boxes and events: what they decide, against a plain search, and how clearly."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hasten.answer import SURE, Answer, Event


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inner = max(width, 0) * max(height, 0)
    return inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner)


def plain(answer: Answer, rows: np.ndarray, boxes: np.ndarray) -> list[list[int]]:
    """One box after the other, best first."""
    labels, best = rows.argmax(axis=1), rows.max(axis=1)
    kept: list[int] = []
    for i in np.argsort(-best, kind="stable"):
        able = answer.threshold is None or best[i] >= answer.threshold
        if able and all(labels[i] != labels[j] or overlap(boxes[i], boxes[j]) <= answer.iou for j in kept):
            kept.append(int(i))
    return [[i, int(labels[i])] for i in kept[: answer.top_k]]


def detections(seed: int, samples: int = 2, count: int = 12, classes: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    corner, side = rng.uniform(0, 20, (samples, count, 2)), rng.uniform(4, 16, (samples, count, 2))
    return {"scores": rng.uniform(0, 1, (samples, count, classes)), "boxes": np.concatenate([corner, corner + side], 2)}


@given(st.integers(0, 10**6), st.none() | st.floats(0.1, 0.9), st.floats(0.1, 0.9), st.none() | st.integers(1, 5))
def test_boxes_are_those_of_a_plain_search(seed: int, threshold: float | None, iou: float, top_k: int | None):
    answer = Answer("boxes", threshold=threshold, iou=iou, top_k=top_k)
    outputs = detections(seed)
    expected = [plain(answer, s, b) for s, b in zip(*outputs.values(), strict=True)]
    assert answer.decide(outputs) == expected


@given(st.integers(0, 10**6), st.none() | st.floats(0.3, 0.9), st.floats(0.1, 0.9))
def test_no_box_changes_within_half_the_margin(seed: int, threshold: float | None, iou: float):
    """Scores and coordinates move by as many of their tolerances, in random directions."""
    answer = Answer("boxes", threshold=threshold, iou=iou)
    outputs, tolerance = detections(seed, count=5), {"scores": 1e-3, "boxes": 1e-2}
    margin = answer.margin(outputs, tolerance)
    assert margin is not None
    assume(0 < margin < SURE)
    rng = np.random.default_rng(seed)
    for _ in range(5):
        moved = {
            n: a + 0.49 * min(margin, 100) * tolerance[n] * rng.choice([-1, 1], a.shape) for n, a in outputs.items()
        }
        assert answer.decide(moved) == answer.decide(outputs)


def test_a_box_near_the_overlap_is_not_clear():
    """Two boxes that overlap by exactly `iou`: a hair decides."""
    boxes = np.array([[[0.0, 0.0, 2.0, 1.0], [1.0, 0.0, 3.0, 1.0]]])
    outputs = {"scores": np.array([[[0.9], [0.5]]]), "boxes": boxes}
    assert Answer("boxes", iou=1 / 3).margin(outputs, {"scores": 1e-3, "boxes": 1e-3}) == pytest.approx(0, abs=1e-9)
    assert Answer("boxes", iou=0.9).margin(outputs, {"scores": 1e-3, "boxes": 1e-3}) > 10


def test_a_box_without_a_number_is_none():
    outputs = detections(0, samples=1, count=2)
    outputs["scores"][0, 0] = np.nan
    assert [i for i, _ in Answer("boxes").decide(outputs)[0]] == [1]


def test_no_boxes_are_no_boxes():
    outputs = {"scores": np.zeros((2, 0, 3)), "boxes": np.zeros((2, 0, 4))}
    assert Answer("boxes").decide(outputs) == [[], []]
    assert Answer("boxes").margin(outputs, {"scores": 1.0, "boxes": 1.0}) == SURE


EVENTS = Answer("events", activation="sigmoid", on=0.7, off=0.3, refractory_s=1.1)


def test_a_sample_tells_the_classes_that_are_at_hand():
    scores = {"y": np.array([[2.0, -2.0, 0.9], [-1.0, 0.0, 0.0]])}  # sigmoid(0.9) = 0.71
    assert EVENTS.decide(scores) == [[0, 2], []]
    assert EVENTS.margin(scores, {"y": 0.001}) == pytest.approx(1e3 * (0.71095 - 0.7), rel=1e-3)


def test_events_of_two_classes():
    """Class 0 is at hand twice, the second time within the rest after the first; class 1 to the end."""
    times = np.arange(8) * 10**9 // 2
    first, second = [-3, 2, 0, -3, 2, -3, -3, -3], [-3, -3, -3, -3, -3, 0, 1, 2]
    found = EVENTS.events(times, np.array([first, second], float).T)
    assert [(e.label, e.begin, e.end, e.peak_time) for e in found] == [
        (0, 500_000_000, 1_000_000_000, 500_000_000),
        (1, 3_000_000_000, 3_500_000_000, 3_500_000_000),
    ]
    assert found[0] == Event(0, 500_000_000, 1_000_000_000, pytest.approx(0.8808, abs=1e-4), 500_000_000)
