"""Events against the oracle: two thresholds, the rest after an event, batches, flushes, and what is refused."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import time_oracle as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from hasten import _core

SCORE = st.one_of(st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0, math.nan, math.inf, -math.inf]), st.floats(0, 1))
Events = list[tuple[int, int, float, int]]


def listed(found: tuple[np.ndarray, ...]) -> Events:
    return list(zip(*(part.tolist() for part in found), strict=True))


def all_of(steps: list[tuple[int, float]], cuts: list[int], **how: Any) -> Events:
    """Pushed in parts, and flushed."""
    hysteresis = _core.Hysteresis(**how)
    times = np.array([t for t, _ in steps], np.int64)
    scores = np.array([s for _, s in steps], np.float64)
    cuts = sorted(min(c, len(steps)) for c in cuts)
    parts = zip(np.split(times, cuts), np.split(scores, cuts), strict=True)
    return [e for part in parts for e in listed(hysteresis.push(*part))] + listed(hysteresis.flush())


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 4), SCORE), max_size=80),
    st.sampled_from([(0.5, 0.5), (0.7, 0.3), (0.5, 0.0)]),
    st.sampled_from([0, 1, 5, 20]),
    st.lists(st.integers(0, 80), max_size=4),
)
def test_the_events_are_the_oracles(
    pushed: list[tuple[int, float]], bounds: tuple[float, float], refractory: int, cuts: list[int]
) -> None:
    time = -9
    steps = [(time := time + step, score) for step, score in pushed]
    how: dict[str, Any] = {"on": bounds[0], "off": bounds[1], "refractory": refractory}
    wanted = oracle.events(steps, *bounds, refractory)
    assert all_of(steps, cuts, **how) == wanted
    one_by_one = _core.Hysteresis(**how)
    assert [e for step in steps for e in listed(one_by_one.push(*step))] + listed(one_by_one.flush()) == wanted
    for (_, end, peak, _), (begin, *_) in pairwise(wanted):
        assert begin - end >= max(refractory, 1)
        assert peak >= bounds[0]


def test_an_event_is_told_when_it_ends() -> None:
    hysteresis = _core.Hysteresis(on=0.7, off=0.3)
    for time, score in enumerate([0.5, 0.7, 0.4, 0.9, 0.9, 0.3]):
        assert listed(hysteresis.push(time, score)) == []
    assert listed(hysteresis.push(6, 0.29)) == [(1, 5, 0.9, 3)]
    assert listed(hysteresis.flush()) == []


def test_an_event_that_goes_on_can_be_seen() -> None:
    hysteresis = _core.Hysteresis(on=0.7, off=0.3)
    seen = []
    for time, score in enumerate([0.5, 0.7, 0.4, 0.9, 0.2, 0.8]):
        hysteresis.push(time, score)
        seen.append(listed(hysteresis.open))
    assert seen == [[], [(1, 1, 0.7, 1)], [(1, 2, 0.7, 1)], [(1, 3, 0.9, 3)], [], [(5, 5, 0.8, 5)]]
    assert listed(hysteresis.flush()) == seen[-1]
    assert listed(hysteresis.open) == []


def test_flush_tells_the_open_event_once_and_the_rest_goes_on() -> None:
    hysteresis = _core.Hysteresis(refractory=10)
    hysteresis.push(100, 1.0)
    assert listed(hysteresis.flush()) == [(100, 100, 1.0, 100)]
    assert listed(hysteresis.flush()) == []
    hysteresis.push(109, 1.0)
    assert listed(hysteresis.flush()) == []
    hysteresis.push(110, 0.6)
    assert listed(hysteresis.flush()) == [(110, 110, 0.6, 110)]


def test_after_a_flush_the_clock_may_be_another() -> None:
    hysteresis = _core.Hysteresis(refractory=1000)
    hysteresis.push(100, 1.0)
    hysteresis.flush()
    hysteresis.push(50, 0.8)
    assert listed(hysteresis.flush()) == [(50, 50, 0.8, 50)]


def test_no_number_ends_an_event_and_begins_none() -> None:
    assert all_of([(0, math.nan), (1, 1.0), (2, math.nan), (3, 1.0)], []) == [(1, 1, 1.0, 1), (3, 3, 1.0, 3)]


def test_the_ends_of_time() -> None:
    first, last = -(2**63), 2**63 - 1
    assert len(all_of([(first, 1.0), (0, 0.0), (last, 1.0)], [], refractory=last)) == 2
    hysteresis = _core.Hysteresis(refractory=1000)
    hysteresis.push(last, 1.0)
    hysteresis.flush()
    hysteresis.push(first, 1.0)
    assert listed(hysteresis.flush()) == [(first, first, 1.0, first)]


WRONG = [
    ({"on": 0.3}, "on is 0.300000 and off 0.500000; off has to be at most on, both finite"),
    ({"on": math.inf}, "on is inf and off 0.500000; off has to be at most on, both finite"),
    ({"off": math.nan}, "on is 0.500000 and off nan; off has to be at most on, both finite"),
    ({"refractory": -1}, "refractory is -1 ns; it has to be 0 or more"),
]


@pytest.mark.parametrize(("how", "sentence"), WRONG)
def test_what_means_nothing_is_refused(how: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        _core.Hysteresis(**how)
    assert str(caught.value) == sentence


I64, F64 = np.zeros(2, np.int64), np.zeros(2)


@pytest.mark.parametrize(
    ("times", "scores", "sentence"),
    [
        (F64, F64, "times has to be an integer or an int64 array [N] without gaps"),
        (I64, I64, "scores has to be a float64 array, as long as times, without gaps"),
        (I64, F64[:1], "scores has to be a float64 array, as long as times, without gaps"),
        (2**63, 1.0, "a time has to fit into 64 bits"),
        (1, "high", "the score of one time has to be a number"),
        (I64, F64, "a step at 0 ns came after one at 0 ns; flush between two stretches of time"),
    ],
)
def test_other_steps_are_refused(times: Any, scores: Any, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        _core.Hysteresis().push(times, scores)
    assert str(caught.value) == sentence
