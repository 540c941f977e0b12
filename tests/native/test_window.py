"""The window against the oracle, and its laws: no window over the end of a segment, the same however it is batched."""

from typing import Any

import numpy as np
import pytest
import time_oracle as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from hasten import _core

S = 1_000_000_000


def rows_of(lengths: list[int], repeats: list[int], fps: float = 10.0) -> np.ndarray:
    """Samples i64 [N, 4] of segments of these lengths; a frame stands for as many points as `repeats` says, in turn."""
    frames = np.repeat(np.arange(sum(lengths)), np.resize(repeats, sum(lengths)))
    rows, start = [], 0
    for segment, length in enumerate(lengths):
        first = len(rows)
        # A segment begins with a frame of its own.
        shown = frames[first : first + length] + segment
        rows += [(start + round(k * S / fps), int(shown[k]), k, segment) for k in range(length)]
        start = rows[-1][0] + 5 * S
    return np.array(rows, np.int64).reshape(-1, 4)


@st.composite
def streams(draw: st.DrawFn) -> np.ndarray:
    return rows_of(
        draw(st.lists(st.integers(1, 40), min_size=1, max_size=5)),
        draw(st.lists(st.integers(1, 4), min_size=1, max_size=5)),
    )


def through(window: Any, parts: list[np.ndarray]) -> list[tuple[int, int, float, list[int]]]:
    """What a caller sees: each window's samples as places among the rows, through a ring of its own."""
    ring = np.full(window.length, -1)
    found: list[tuple[int, int, float, list[int]]] = []
    place = 0
    for part in parts:
        slots, at, end, coverage, order = window.push(part)
        assert order.shape == (len(at), window.length)
        full = dict(zip(at.tolist(), zip(end.tolist(), coverage.tolist(), order, strict=True), strict=True))
        for i, slot in enumerate(slots.tolist()):
            ring[slot] = place + i
            if i in full:
                found.append((place + i, *full[i][:2], ring[full[i][2]].tolist()))
        place += len(part)
    return found


@settings(max_examples=300, deadline=None)
@given(streams(), st.integers(1, 25), st.integers(1, 30), st.booleans())
def test_the_windows_are_the_oracles(rows: np.ndarray, length: int, stride: int, repeat: bool) -> None:
    window = _core.Window(length / 10, 10.0, stride / 10, "repeat" if repeat else "wait")
    assert (window.length, window.stride) == (length, stride)
    found = through(window, [rows])
    assert found == oracle.windows([tuple(r) for r in rows.tolist()], length, stride, repeat)
    for at, _, coverage, places in found:
        assert 1 / length <= coverage <= 1
        assert len({rows[p, 3] for p in places}) == 1  # of one segment
        steps = np.diff(rows[places, 2])
        assert set(steps) <= ({0, 1} if repeat else {1})  # nothing skipped, nothing back
        assert places[-1] == at


@settings(max_examples=100, deadline=None)
@given(streams(), st.integers(1, 25), st.integers(1, 30), st.booleans(), st.lists(st.integers(0, 200), max_size=4))
def test_the_same_however_they_are_batched(
    rows: np.ndarray, length: int, stride: int, repeat: bool, cuts: list[int]
) -> None:
    how = (length / 10, 10.0, stride / 10, "repeat" if repeat else "wait")
    whole = through(_core.Window(*how), [rows])
    assert through(_core.Window(*how), np.split(rows, sorted(min(c, len(rows)) for c in cuts))) == whole
    assert through(_core.Window(*how), [row[None] for row in rows]) == whole


@settings(max_examples=50, deadline=None)
@given(streams(), st.integers(1, 25), st.integers(1, 30))
def test_repeat_adds_windows_and_changes_none(rows: np.ndarray, length: int, stride: int) -> None:
    wait, repeat = (through(_core.Window(length / 10, 10.0, stride / 10, p), [rows]) for p in ("wait", "repeat"))
    assert [w for w in repeat if rows[w[0], 2] >= length - 1] == wait


def test_the_sampler_feeds_it() -> None:
    rows = _core.Sampler(10).push(np.arange(0, 4 * S, S // 5))  # five frames a second on a grid of ten
    _, at, end, coverage, _ = _core.Window(1.0, 10.0, 0.5).push(rows)
    assert at.tolist() == [9, 14, 19, 24, 29, 34]
    assert (end == rows[at, 0]).all()
    # Each frame stands for two points; a window that begins with the second of a pair has a sixth frame.
    assert coverage.tolist() == [0.5, 0.6, 0.5, 0.6, 0.5, 0.6]


def test_padding_is_not_coverage() -> None:
    _, at, _, coverage, order = _core.Window(0.5, 10.0, 0.2, "repeat").push(rows_of([6], [1]))
    assert at.tolist() == [0, 2, 4]
    assert coverage.tolist() == [0.2, 0.6, 1.0]
    assert order.tolist() == [[0, 0, 0, 0, 0], [0, 0, 0, 1, 2], [0, 1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("seconds", "fps", "length"), [(2, 15, 30), (0.1, 15, 2), (1, 29.97, 30), (3, 30000 / 1001, 90), (0.01, 50, 1)]
)
def test_its_length_is_the_nearest(seconds: float, fps: float, length: int) -> None:
    assert _core.Window(seconds, fps, 1.0).length == length


WRONG = [
    ((0.0, 30.0, 1.0), "seconds is 0.000000; it has to be a number of seconds above 0"),
    ((float("nan"), 30.0, 1.0), "seconds is nan; it has to be a number of seconds above 0"),
    ((float("inf"), 30.0, 1.0), "seconds is inf; it has to be a number of seconds above 0"),
    ((0.01, 30.0, 1.0), "seconds is 0.010000, which is less than half a sample at this fps"),
    ((1e6, 30.0, 1.0), "seconds is 1000000.000000, which is more than 1000000 samples at this fps"),
    ((1.0, -1.0, 1.0), "fps is -1.000000; it has to be between 0.001 and 1000000 samples a second"),
    ((1.0, 30.0, 0.0), "stride_s is 0.000000; it has to be a number of seconds above 0"),
    ((1.0, 30.0, 0.001), "stride_s is 0.001000, which is less than half a sample at this fps"),
    ((1.0, 30.0, 1.0, "mirror"), "padding is mirror; it has to be one of wait, repeat"),
]


@pytest.mark.parametrize(("how", "sentence"), WRONG)
def test_what_means_nothing_is_refused(how: tuple[Any, ...], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        _core.Window(*how)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ([0, 0, 2, 0], "sample 2 of segment 0 came where 1 was expected"),
        ([0, 0, 0, 0], "sample 0 of segment 0 came where 1 was expected"),
        ([0, 0, 1, 1], "sample 1 of segment 1 came where 0 was expected"),
    ],
)
def test_a_sample_out_of_order_is_refused(row: list[int], sentence: str) -> None:
    window = _core.Window(1.0, 10.0, 1.0)
    window.push(np.zeros((1, 4), np.int64))
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        window.push(np.array([row], np.int64))


@pytest.mark.parametrize("wrong", ["rows", np.zeros((1, 4)), np.zeros(4, np.int64), np.zeros((2, 3), np.int64), 3])
def test_other_samples_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"^samples has to be an int64 array \[N, 4\] without gaps$"):
        _core.Window(1.0, 10.0, 1.0).push(wrong)
