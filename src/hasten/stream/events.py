"""From scored windows to events: two thresholds and a rest for each class. spec/time.md has the rules."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hasten.answer import Answer, Event
from hasten.prepare import native
from hasten.stream.features import Scored


@dataclass(frozen=True)
class Begun:
    """An event has begun, and nobody knows yet when it ends.

    Attributes:
        begin: end of the window that decided it, ns.
        score: of that window.
    """

    label: int
    begin: int
    score: float


class Events:
    """Events of one stream: each as it begins, and at the first window that is below `off`, or as its segment ends."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._watches: list[Any] = []
        self._segment: int | None = None
        self.scores: np.ndarray = np.zeros(0)  # of the last window, f64 [classes]

    def push(self, scored: Scored) -> Iterator[Event | Begun]:
        """Events that the window ends or begins, by class."""
        first = np.asarray(next(iter(scored.outputs.values())))
        rows = np.ascontiguousarray(first.reshape(-1, first.shape[-1]), np.float64)
        how, core = self._answer, native("an answer of events")
        self.scores = core.activate(rows, how.activation).max(axis=0)
        if not self._watches:
            rest = round(how.refractory_s * 1e9)
            self._watches = [core.Hysteresis(on=how.on, off=how.off, refractory=rest) for _ in self.scores]
        if self._segment not in (None, scored.segment):
            yield from self.flush()
        self._segment = scored.segment
        for label, (watch, score) in enumerate(zip(self._watches, self.scores, strict=True)):
            yield from _told(label, watch.push(scored.end, float(score)))
            for event in _told(label, watch.open):
                if event.begin == scored.end:
                    yield Begun(label, event.begin, event.peak)

    def flush(self) -> Iterator[Event]:
        """Events that are still open, where a segment or the stream ends."""
        for label, watch in enumerate(self._watches):
            yield from _told(label, watch.flush())


def _told(label: int, found: tuple[np.ndarray, ...]) -> Iterator[Event]:
    return (Event(label, *(a.item() for a in one)) for one in zip(*found, strict=True))
