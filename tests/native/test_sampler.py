"""The sampler against the oracle, and its laws: nothing skipped, never back, batches, wraps, days, a steady cadence."""

import gc
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import time_oracle as oracle
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hasten import _core

MS = 1_000_000
S = 1_000_000_000
FPS = st.one_of(st.sampled_from([15.0, 20.0, 30.0, 25.0, 30000 / 1001, 60.0]), st.floats(0.5, 120))
STEP = st.one_of(
    st.sampled_from([0, -1, 1, 16_666_667, 33_333_333, 40 * MS, 500 * MS, 500 * MS + 1, -500 * MS, -500 * MS - 1]),
    st.integers(-20 * MS, 80 * MS),
    st.integers(-2 * S, 2 * S),
)


def sampled(timestamps: Any, fps: float, **how: Any) -> list[tuple[int, ...]]:
    rows = _core.Sampler(fps, **how).push(np.asarray(timestamps, np.int64))
    assert rows.dtype == np.int64
    assert rows.shape[1:] == (4,)
    return [tuple(row) for row in rows.tolist()]


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[int], dict[str, Any]]:
    """Timestamps with all that can be wrong with them, and a sampler's settings."""
    wrap = draw(st.sampled_from([None, None, 1_000_000_007, 3 * S]))
    steps = draw(st.lists(STEP, max_size=60))
    time = draw(
        st.sampled_from([0, -7, 1_795_400_000 * S, 2**62 - 30 * MS]) if wrap is None else st.just(wrap - 50 * MS)
    )
    times = [time := time + step for step in [0, *steps]]
    times = [t % wrap for t in times] if wrap else times
    for place in draw(st.lists(st.integers(0, len(times) - 1), max_size=3)):
        times[place] = draw(st.sampled_from([_core.NO_TIMESTAMP, 2**62, -(2**62), 2**63 - 1]))
    phase = draw(st.one_of(st.just(0), st.integers(0, 100 * MS)))
    max_gap = 500 * MS if wrap is None or wrap > S + 1 else 400 * MS
    return [min(max(t, -(2**63)), 2**63 - 1) for t in times], {"phase": phase, "max_gap": max_gap, "wrap": wrap}


@settings(max_examples=300, deadline=None)
@given(streams(), FPS)
def test_the_samples_are_the_oracles(stream: tuple[list[int], dict[str, Any]], fps: float) -> None:
    timestamps, how = stream
    sampler = _core.Sampler(fps, **how)
    rows, dropped = oracle.samples(timestamps, fps, **how)
    assert [tuple(row) for row in sampler.push(np.array(timestamps, np.int64)).tolist()] == rows
    assert sampler.dropped == dropped


@settings(max_examples=100, deadline=None)
@given(streams(), FPS, st.data())
def test_the_same_however_they_are_batched(
    stream: tuple[list[int], dict[str, Any]], fps: float, data: st.DataObject
) -> None:
    timestamps, how = stream
    whole = sampled(timestamps, fps, **how)
    one_by_one = _core.Sampler(fps, **how)
    assert [tuple(r) for t in timestamps for r in one_by_one.push(t).tolist()] == whole
    cuts = sorted(data.draw(st.lists(st.integers(0, len(timestamps)), max_size=4)))
    parts = _core.Sampler(fps, **how)
    bounds = pairwise([0, *cuts, len(timestamps)])
    assert [tuple(r) for a, b in bounds for r in parts.push(np.array(timestamps[a:b], np.int64)).tolist()] == whole


@settings(max_examples=200, deadline=None)
@given(streams(), FPS)
def test_time_is_never_skipped_and_never_goes_back(stream: tuple[list[int], dict[str, Any]], fps: float) -> None:
    timestamps, how = stream
    rows = sampled(timestamps, fps, **how)
    assert not rows or rows[0][2] == 0
    for before, after in pairwise(rows):
        assert after[1] >= before[1]
        if after[3] == before[3]:
            assert after[2] == before[2] + 1
            assert abs((after[0] - before[0]) - S / fps) <= 1
        else:
            assert after[3] > before[3]
            assert after[2] == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 300 * MS), min_size=1, max_size=60), FPS)
def test_a_point_is_settled_in_time_and_by_a_near_frame(steps: list[int], fps: float) -> None:
    times = np.cumsum([0, *steps])
    sampler = _core.Sampler(fps)
    for newest, time in enumerate(times.tolist()):
        before = times[newest - 1] if newest else time
        for point, frame, _, _ in sampler.push(time).tolist():
            assert before < point <= time + S / fps / 2 or newest == 0
            assert frame in (newest, newest - 1)
            assert abs(point - times[frame]) <= max(S / fps, time - before) / 2
    assert point + S / fps > time - 1  # and nothing that was due is left


@pytest.mark.parametrize("fps", [15, 20, 30])
@pytest.mark.parametrize("seed", range(4))
def test_sixty_fps_with_jitter_keeps_a_steady_cadence(fps: int, seed: int) -> None:
    times = np.arange(3600) * S // 60 + np.random.default_rng(seed).integers(-2 * MS, 2 * MS + 1, 3600)
    frames = np.array(sampled(times, fps))[:, 1]
    assert len(frames) in (3600 * fps // 60, 3600 * fps // 60 + 1)
    assert set(np.diff(frames)) == {60 // fps}


def test_a_slow_source_repeats_its_frames() -> None:
    rows = sampled([0, 100 * MS, 200 * MS], 30)
    assert [r[1] for r in rows] == [0, 0, 1, 1, 1, 2, 2]
    assert [r[0] for r in rows] == [0, 33333333, 66666667, 100000000, 133333333, 166666667, 200000000]


def test_frames_on_the_grid_are_settled_when_they_come() -> None:
    sampler = _core.Sampler(30.0)
    for k in range(100):
        assert sampler.push(k * S // 30).tolist()[-1][1:] == [k, k, 0]


def test_the_grid_begins_phase_after_the_first_frame() -> None:
    rows = sampled(np.arange(10) * 10 * MS + 5, 50, phase=7 * MS)
    assert [r[0] for r in rows][:3] == [7 * MS + 5, 27 * MS + 5, 47 * MS + 5]
    assert [r[1] for r in rows][:3] == [1, 3, 5]


def test_a_gap_begins_a_segment_and_a_longer_step_within_it_does_not() -> None:
    rows = sampled([0, 500 * MS, 1000 * MS + 1], 2)
    assert rows == [(0, 0, 0, 0), (500 * MS, 1, 1, 0), (1000 * MS + 1, 2, 0, 1)]


def test_a_clock_set_back_begins_a_segment_and_one_wild_timestamp_costs_two() -> None:
    day = 86400 * S
    assert [r[2:] for r in sampled([day, day + S // 2, 0, S // 2], 2)] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert [r[3] for r in sampled([0, S // 2, day, S, 3 * S // 2], 2)] == [0, 0, 1, 2, 2]


def test_repeated_backward_and_missing_timestamps_are_dropped() -> None:
    sampler = _core.Sampler(10)
    assert sampler.push(None).tolist() == []
    stamps = np.array([0, 0, 100 * MS, 50 * MS, _core.NO_TIMESTAMP, 200 * MS], np.int64)
    assert sampler.push(stamps)[:, :2].tolist() == [[0, 1], [100 * MS, 3], [200 * MS, 6]]
    assert sampler.dropped == 4
    assert np.datetime64("NaT").view(np.int64) == _core.NO_TIMESTAMP


def test_a_33_bit_clock_is_carried_on_over_its_wrap() -> None:
    ticks = np.arange(300) * 3000 + 2**33 - 450_000  # 30 frames a second, of 90 kHz
    wrap = round(2**33 * S / 90_000)
    rows = np.array(sampled(ticks % 2**33 * S // 90_000, 30, wrap=wrap))
    assert (rows[:, 1] == np.arange(300)).all()
    assert (rows[:, 3] == 0).all()
    assert rows[-1, 0] > wrap


@pytest.mark.parametrize("fps", [29.97, 30000 / 1001, 0.1, 59.94, 1 / 3, 1000 / 7])
def test_a_long_run_does_not_drift(fps: float) -> None:
    """Up to ten days: the last point is where the definition has it."""
    seconds = min(864_000, int(2_000_000 / fps))
    rows = _core.Sampler(fps, max_gap=3600 * S).push(np.arange(0, seconds, 100, dtype=np.int64) * S)
    index = rows[-1, 2]
    assert index > 80_000
    for k in (index, index // 2, index // 3):
        assert rows[k, 0] == point(int(k), fps)
    assert np.ptp(np.diff(rows[:, 0])) <= 1


def point(k: int, fps: float) -> int:
    return oracle.nearest(k * 10**9 / oracle.Fraction(fps))


@settings(max_examples=200, deadline=None)
@given(st.floats(0.001, 1e6))
@example(0.001)
@example(1e6)
@example(30.0)
@example(2.0**19)
def test_every_rate_has_its_exact_grid(fps: float) -> None:
    far = min(int(100 * S / fps), 3600 * S)
    rows = _core.Sampler(fps, max_gap=max(far, 1)).push(np.array([0, far], np.int64))
    assert rows[:, 0].tolist() == [point(k, fps) for k in range(len(rows))]


WRONG = [
    ({"fps": 0.0}, "fps is 0.000000; it has to be between 0.001 and 1000000 samples a second"),
    ({"fps": float("nan")}, "fps is nan; it has to be between 0.001 and 1000000 samples a second"),
    ({"fps": float("inf")}, "fps is inf; it has to be between 0.001 and 1000000 samples a second"),
    ({"phase": -1}, "phase is -1 ns; it has to be between 0 and an hour"),
    ({"max_gap": 0}, "max_gap is 0 ns; it has to be above 0 and at most an hour"),
    ({"max_gap": 2**62}, f"max_gap is {2**62} ns; it has to be above 0 and at most an hour"),
    ({"fps": 1e6, "max_gap": 60 * S}, "max_gap is 60000000000 ns, more than 1000000 samples at this fps"),
    ({"wrap": S}, "wrap is 1000000000 ns; it has to be more than twice max_gap, and less than 2^62"),
    ({"wrap": 2**62}, f"wrap is {2**62} ns; it has to be more than twice max_gap, and less than 2^62"),
]


@pytest.mark.parametrize(("how", "sentence"), WRONG)
def test_what_means_nothing_is_refused(how: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        _core.Sampler(**{"fps": 30.0, **how})
    assert str(caught.value) == sentence


@pytest.mark.parametrize("wrong", [[1, 2], np.zeros(3), np.zeros((2, 2), np.int64), np.arange(6)[::2], "now", 1.5])
def test_other_timestamps_are_refused(wrong: object) -> None:
    with pytest.raises(
        ValueError, match=r"^timestamps has to be an integer, None or an int64 array \[N\] without gaps$"
    ):
        _core.Sampler(30).push(wrong)
    with pytest.raises(ValueError, match=r"^a timestamp has to fit into 64 bits$"):
        _core.Sampler(30).push(2**63)


def test_samples_keep_their_memory() -> None:
    rows = _core.Sampler(30).push(np.arange(1000) * 33 * MS)
    kept = rows[5:]
    del rows
    gc.collect()
    assert kept[:, 2].tolist() == list(range(5, 5 + len(kept)))
