"""One source of a watch: what comes of its frames, as lines. spec/stream.md lists them."""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from hasten.answer import Event
from hasten.bundle import Bundle
from hasten.errors import HastenError
from hasten.stream.events import Begun, Events
from hasten.stream.features import Counts, Features, Scored, watched
from hasten.stream.frame import NO_TIMESTAMP, Frame
from hasten.stream.sampler import Sampler
from hasten.stream.source import Source
from hasten.stream.waiting import Dropped, Item, State

_LATENCIES = 4096  # the last ones of a source

Line = dict[str, Any]
Tell = Callable[[Line], None]


@dataclass
class Figures:
    """Of one source, so far; times in seconds."""

    began: float = field(default_factory=time.monotonic)
    ended: float | None = None
    frames: int = 0
    untrusted: int = 0
    unsampled: int = 0  # without a timestamp, repeated or out of order
    dropped: int = 0
    events: int = 0
    connections: int = 0
    stream_s: float = 0.0  # of the video's own time
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))

    @property
    def seconds(self) -> float:
        return max(1e-9, (self.ended or time.monotonic()) - self.began)

    def latency_ms(self, percent: float) -> float | None:
        """From the arrival of a window's last frame to its score."""
        return float(np.percentile(self.latencies_ms, percent)) if self.latencies_ms else None


class Stream:
    """One source: what comes of its frames."""

    def __init__(self, source: Source, bundle: Bundle, tell: Tell, windows: bool) -> None:
        self.source, self._bundle, self._told, self._windows = source, bundle, tell, windows
        self.figures, self.counts = Figures(), Counts()
        self.over: State | None = None
        self._untold: HastenError | None = None  # why a line was not taken
        self.scores = np.zeros(0)
        self._begin()

    def push(self, item: Item) -> None:
        """A fault of what is decoded or computed ends this stream alone; one of who takes the lines is raised."""
        try:
            if isinstance(item, Frame):
                self._frame(item)
            elif isinstance(item, Dropped):
                self.figures.dropped += item.frames
                self._tell("drop", frames=item.frames, **_span(item.first, item.last))
            else:
                self._state(item)
        except HastenError as fault:
            if fault is self._untold:
                raise
            self._state(State(str(fault), over=True, failed=True))

    def _begin(self) -> None:
        """A connection: a clock, a grid and a ring of its own."""
        window = watched(self._bundle)[1]
        self._sampler, self._features = Sampler(window), Features(self._bundle, self.counts)
        self._events = Events(self._bundle.pipeline.answer)
        self._segment: int | None = None
        self._last, self._untrusted = NO_TIMESTAMP, 0  # time of the last frame taken; since then
        self._lowest: dict[int, float] = {}  # coverage of the windows of each event that is open

    def _frame(self, frame: Frame) -> None:
        figures = self.figures
        figures.frames += 1
        if not frame.trusted:
            figures.untrusted += 1
            self._untrusted += 1
            return
        before = self._sampler.dropped
        for sample in self._sampler.push(frame):
            last, self._segment = self._segment, int(sample.row[3])
            if self._segment != last and (last is not None or self._untrusted):
                self._flush()
                self._gap(frame.time)
            for scored in self._features.push(sample):
                self._scored(scored)
        figures.unsampled += self._sampler.dropped - before
        if self._sampler.dropped == before:
            if self._last != NO_TIMESTAMP and frame.time > self._last:
                figures.stream_s += (frame.time - self._last) / 1e9
            self._last, self._untrusted = frame.time, 0

    def _scored(self, scored: Scored) -> None:
        told = list(self._events.push(scored))
        self.scores = self._events.scores
        self.figures.latencies_ms.append(1e3 * (time.monotonic() - scored.arrived))
        if self._windows:
            self._tell("window", end=scored.end, coverage=scored.coverage, scores=self.scores.tolist())
        for one in told:
            if isinstance(one, Event):
                self._event(one)
            else:
                self._lowest[one.label] = scored.coverage
                late = 1e3 * (time.monotonic() - scored.arrived)
                self._tell("begin", **self._named(one), coverage=scored.coverage, latency_ms=late)
        self._lowest = {label: min(lowest, scored.coverage) for label, lowest in self._lowest.items()}

    def _gap(self, to: int) -> None:
        self._tell("gap", **_span(self._last, to), untrusted=self._untrusted)

    def _close(self) -> None:
        """The end of a connection."""
        self._flush()
        if self._untrusted:
            self._gap(NO_TIMESTAMP)
            self._untrusted = 0

    def _flush(self) -> None:
        for event in self._events.flush():
            self._event(event)

    def _event(self, event: Event) -> None:
        self._tell("event", **self._named(event), coverage=self._lowest.pop(event.label))
        self.figures.events += 1

    def _named(self, event: Event | Begun) -> Line:
        labels = self._bundle.pipeline.answer.labels
        return {"name": labels[event.label] if labels else str(event.label), **asdict(event)}

    def _state(self, state: State) -> None:
        if state.opened:
            if self.figures.connections:
                self._close()
                self._begin()
            self.figures.connections += 1
        if not state.over:
            self._tell("source", said=state.said)
            return
        if self.over is None:
            self._close()
            self.over, self.figures.ended = state, time.monotonic()
            self._tell("end", said=state.said, failed=state.failed, **self.summary())

    def _tell(self, kind: str, **fields: Any) -> None:
        try:
            self._told({"kind": kind, "source": self.source.place, **{k: _json(v) for k, v in fields.items()}})
        except HastenError as fault:
            self._untold = fault
            raise

    def tell_figures(self) -> None:
        """So far."""
        if self.over is None:
            self._tell("figures", **self.summary())

    def summary(self) -> Line:
        """The figures as JSON has them."""
        f, c = self.figures, self.counts
        return {
            "frames": f.frames, "untrusted": f.untrusted, "unsampled": f.unsampled, "dropped": f.dropped,
            "samples": c.samples, "encoded": c.encoded, "same_bytes": c.same_bytes, "windows": c.windows,
            "events": f.events, "connections": f.connections, "stream_s": round(f.stream_s, 6),
            "seconds": round(f.seconds, 6), "latency_p50_ms": f.latency_ms(50), "latency_p99_ms": f.latency_ms(99),
        }  # fmt: skip


def _json(value: Any) -> Any:
    """JSON has no word for what is not finite."""
    if isinstance(value, list):
        return [_json(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _span(first: int, last: int) -> dict[str, int | None]:
    """Two times of a stream; null where there is none."""
    return {"from": None if first == NO_TIMESTAMP else first, "to": None if last == NO_TIMESTAMP else last}
