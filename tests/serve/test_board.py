"""What a page shows of a watch: no more than matters, in order, for whoever comes when."""

import json
from typing import Any

import pytest

from hasten.serve.board import MOST_EVENTS, MOST_WINDOWS, TRACE_S, Board

Line = dict[str, Any]


class Told:
    """A board, and lines of one source for it."""

    def __init__(self) -> None:
        self.board = Board()

    def tell(self, kind: str, **fields: Any) -> int:
        """The number of the line."""
        self.board.tell({"kind": kind, "source": "a", **fields})
        return self.board.since(0)[0][-1].number

    def read(self, kind: str, after: int = 0) -> list[Line]:
        lines = [json.loads(entry.text) for entry in self.board.since(after)[0]]
        return [line for line in lines if line["kind"] == kind]


@pytest.fixture
def told() -> Told:
    return Told()


def test_windows_of_the_last_minute_stay(told: Told) -> None:
    for i in range(round(2 * TRACE_S * 10)):
        last = told.tell("window", end=i * 10**8, scores=[0.5])
    ends = [w["end"] for w in told.read("window")]
    assert len(ends) == TRACE_S * 10 + 1
    assert ends[-1] - ends[0] == TRACE_S * 1e9
    assert told.board.since(last) == ([], False)
    told.tell("window", end=5, scores=[0.5])  # the clock was set back
    assert [w["end"] for w in told.read("window", last)] == [5]
    assert [w["end"] for w in told.read("window")] == [5]
    for i in range(MOST_WINDOWS + 10):
        told.board.tell({"kind": "window", "source": "a", "end": 6 + i, "scores": [0.5]})
    assert len(told.read("window")) == MOST_WINDOWS


def test_an_event_that_lasts_stays_however_long(told: Told) -> None:
    """Others come and go, each with its begin; it is told when it ends."""
    told.tell("begin", label=3, begin=-1)
    for i in range(MOST_EVENTS + 50):
        told.tell("begin", label=1, begin=i)
        told.tell("event", label=1, begin=i)
    assert [b["begin"] for b in told.read("begin")] == [-1, *range(50, MOST_EVENTS + 50)]
    assert [e["begin"] for e in told.read("event")] == list(range(50, MOST_EVENTS + 50))
    last = told.tell("begin", label=1, begin=7)
    told.tell("event", label=3, begin=-1)
    assert [e["label"] for e in told.read("event", last)] == [3]
    assert not told.read("begin", last)
    assert [b["begin"] for b in told.read("begin")][::MOST_EVENTS] == [-1, 7]


def test_of_the_rest_the_last_stays(told: Told) -> None:
    told.tell("source", said="opened")
    for i in range(100):
        told.tell("figures", frames=i)
        told.tell("gap", to=i)
        told.tell("drop", frames=i)
    told.tell("end", said="ended")
    assert [f["frames"] for f in told.read("figures")] == [99]
    assert [s["said"] for s in told.read("source") + told.read("end")] == ["opened", "ended"]
    assert 0 < len(told.read("gap")) == len(told.read("drop")) <= 20
    assert all("at" in line for line in told.read("gap"))


def test_lines_come_in_their_order_from_wherever_one_was(told: Told) -> None:
    for i in range(30):
        for source in ("a", "b"):
            told.board.tell({"kind": "window", "source": source, "end": i, "scores": []})
        told.tell("figures", frames=i)
    numbers = [entry.number for entry in told.board.since(0)[0]]
    assert numbers == sorted(set(numbers))
    for after in (0, 17, 50, 89):
        assert [entry.number for entry in told.board.since(after)[0]] == [n for n in numbers if n > after]
    told.board.finish()
    assert told.board.since(numbers[-1]) == ([], True)
