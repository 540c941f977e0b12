"""Watch sources with a bundle: one process, a reader for each source, and one who encodes and decides for all.

The lines that are told are JSON objects; spec/stream.md lists them.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from hasten.answer import Event
from hasten.bundle import Bundle
from hasten.errors import HastenError
from hasten.stream.events import Events
from hasten.stream.features import Counts, Features, Scored, watched
from hasten.stream.frame import NO_TIMESTAMP, Frame
from hasten.stream.sampler import Sampler
from hasten.stream.source import Patience, Reader, Source
from hasten.stream.waiting import Dropped, Item, State, Waiting

WAITING = 16  # frames of a source between its decoder and the sampler
_LATENCIES = 4096  # the last ones of a source
_COVERAGES = 4096
_TURN_S = 0.02  # at most between two looks at the sources, where nothing comes
_ASIDE_S = 2.0  # for readers to end

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
    last: list[str] = field(default_factory=list)

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
        self.scores = np.zeros(0)
        self._begin()

    def push(self, item: Item) -> None:
        """A fault of what is decoded or computed ends this stream alone."""
        try:
            if isinstance(item, Frame):
                self._frame(item)
            elif isinstance(item, Dropped):
                self.figures.dropped += item.frames
                self._tell("drop", frames=item.frames, **_span(item.first, item.last))
            else:
                self._state(item)
        except HastenError as fault:
            self._state(State(str(fault), over=True, failed=True))

    def _begin(self) -> None:
        """A connection: a clock, a grid and a ring of its own."""
        window = watched(self._bundle)[1]
        self._sampler, self._features = Sampler(window), Features(self._bundle, self.counts)
        self._events = Events(self._bundle.pipeline.answer)
        self._segment: int | None = None
        self._last, self._untrusted = NO_TIMESTAMP, 0
        self._coverages: deque[tuple[int, float]] = deque(maxlen=_COVERAGES)

    def _frame(self, frame: Frame) -> None:
        figures = self.figures
        figures.frames += 1
        if not frame.trusted:
            figures.untrusted += 1
            self._untrusted += 1
            return
        before = self._sampler.dropped
        for sample in self._sampler.push(frame):
            if self._segment not in (None, int(sample.row[3])):
                self._events_of(self._events.flush())
                self._tell("gap", **_span(self._last, frame.time), untrusted=self._untrusted)
                self._untrusted = 0
            self._segment = int(sample.row[3])
            for scored in self._features.push(sample):
                self._scored(scored)
        figures.unsampled += self._sampler.dropped - before
        if self._sampler.dropped == before:
            if self._last != NO_TIMESTAMP and frame.time > self._last:
                figures.stream_s += (frame.time - self._last) / 1e9
            self._last = frame.time

    def _scored(self, scored: Scored) -> None:
        self._coverages.append((scored.end, scored.coverage))
        told = list(self._events.push(scored))
        self.scores = self._events.scores
        self.figures.latencies_ms.append(1e3 * (time.monotonic() - scored.arrived))
        if self._windows:
            self._tell("window", end=scored.end, coverage=scored.coverage, scores=self.scores.tolist())
        self._events_of(iter(told))

    def _events_of(self, events: Iterator[Event]) -> None:
        labels = self._bundle.pipeline.answer.labels
        for event in events:
            name = labels[event.label] if labels else str(event.label)
            inside = [c for end, c in self._coverages if event.begin <= end <= event.end]
            self._tell("event", name=name, **asdict(event), coverage=min(inside, default=0.0))
            self.figures.events += 1
            self.figures.last = [*self.figures.last, f"{name} at {event.begin / 1e9:.2f} s"][-3:]

    def _state(self, state: State) -> None:
        if state.opened:
            if self.figures.connections:
                self._events_of(self._events.flush())
                self._begin()
            self.figures.connections += 1
        if not state.over:
            self._tell("source", said=state.said)
            return
        if self.over is None:
            self._events_of(self._events.flush())
            self.over, self.figures.ended = state, time.monotonic()
            self._tell("end", said=state.said, failed=state.failed, **self.summary())

    def _tell(self, kind: str, **fields: Any) -> None:
        self._told({"kind": kind, "source": self.source.place, **fields})

    def summary(self) -> Line:
        """The figures as JSON has them."""
        f, c = self.figures, self.counts
        return {
            "frames": f.frames, "untrusted": f.untrusted, "unsampled": f.unsampled, "dropped": f.dropped,
            "samples": c.samples, "encoded": c.encoded, "same_bytes": c.same_bytes, "windows": c.windows,
            "events": f.events, "connections": f.connections, "stream_s": round(f.stream_s, 6),
            "seconds": round(f.seconds, 6), "latency_p50_ms": f.latency_ms(50), "latency_p99_ms": f.latency_ms(99),
        }  # fmt: skip


def _span(first: int, last: int) -> dict[str, int | None]:
    """Two times of a stream; null where there is none."""
    return {"from": None if first == NO_TIMESTAMP else first, "to": None if last == NO_TIMESTAMP else last}


class Watch:
    """All sources of a run. `run` returns when each has ended, or after `stop`."""

    def __init__(
        self, bundle: Bundle, sources: Sequence[Source], tell: Tell, *, windows: bool = False,
        patience: Patience | None = None, waiting: int = WAITING, seen: Callable[[int, Frame], None] | None = None,
        turned: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        """
        Args:
            bundle: loaded; no other thread uses it meanwhile.
            tell: takes each line, in the thread of `run`; it is not called again before it returns.
            windows: tell every window, not only events.
            waiting: frames of a source that wait at most.
            seen: takes the number of the source and each frame before it is sampled.
            turned: called after each turn through the sources, whether or not there was anything.

        Raises:
            InputError: a bundle that cannot watch.
        """
        watched(bundle)
        self._changed = threading.Condition()
        self._seen, self._turned = seen, turned
        self.streams = [Stream(source, bundle, tell, windows) for source in sources]
        self._queues = [Waiting(waiting, source.live, self._changed) for source in sources]
        patience = patience or Patience()
        self._readers = [Reader(s, q, patience) for s, q in zip(sources, self._queues, strict=True)]
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Read no more; what has been read is still worked on, and all ends are told. From any thread or signal."""
        self._stopped.set()

    def run(self) -> bool:
        """Whether every source came to its end, or to `stop`, without a fault."""
        for reader in self._readers:
            reader.start()
        try:
            while not all(stream.over for stream in self.streams):
                if self._stopped.is_set():
                    self._end()
                elif not self._turn():
                    with self._changed:
                        self._changed.wait(_TURN_S)
                if self._turned:
                    self._turned()
        finally:
            for reader, queue in zip(self._readers, self._queues, strict=True):
                reader.stop()
                queue.close()
        return not any(stream.over and stream.over.failed for stream in self.streams)

    def _turn(self) -> bool:
        """One item of each source, in turn; whether there was any."""
        any_taken = False
        for i, (stream, queue) in enumerate(zip(self.streams, self._queues, strict=True)):
            with self._changed:
                item = queue.take()
            if item is None or stream.over:
                continue
            any_taken = True
            if self._seen and isinstance(item, Frame):
                self._seen(i, item)
            stream.push(item)
            if stream.over:
                self._readers[i].stop()
                queue.close()
        return any_taken

    def _end(self) -> None:
        """After `stop`: what still waits, then the end of each."""
        for reader, queue in zip(self._readers, self._queues, strict=True):
            reader.stop()
            queue.close()
        limit = time.monotonic() + _ASIDE_S
        for reader in self._readers:
            reader.join(max(0.0, limit - time.monotonic()))
        while self._turn():
            pass
        for stream in self.streams:
            stream.push(State("stopped", over=True))
