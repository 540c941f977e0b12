"""Watch sources with a bundle: one process, a reader for each source, and one who encodes and decides for all.

The lines that are told are JSON objects; spec/stream.md lists them.
"""

import threading
import time
from collections.abc import Callable, Sequence

from hasten.bundle import Bundle
from hasten.stream.features import watched
from hasten.stream.frame import Frame
from hasten.stream.source import Patience, Reader, Source
from hasten.stream.stream import Stream, Tell
from hasten.stream.waiting import State, Waiting

WAITING = 16  # frames of a source between its decoder and the sampler
_TURN_S = 0.02  # at most between two looks at the sources, where nothing comes
_ASIDE_S = 2.0  # for readers to end


class Watch:
    """All sources of a run. `run` returns when each has ended, or after `stop`."""

    def __init__(
        self, bundle: Bundle, sources: Sequence[Source], tell: Tell, *, windows: bool = False, figures_s: float = 0.0,
        patience: Patience | None = None, waiting: int = WAITING, seen: Callable[[int, Frame], None] | None = None,
    ) -> None:  # fmt: skip
        """
        Args:
            bundle: loaded; no other thread uses it meanwhile.
            tell: takes each line, in the thread of `run`; it is not called again before it returns.
            windows: tell every window, not only events.
            figures_s: tell the figures of each source every so many seconds; 0: only at its end.
            waiting: frames of a source that wait at most.
            seen: takes the number of the source and each frame before it is sampled.

        Raises:
            InputError: a bundle that cannot watch.
        """
        watched(bundle)
        self._changed = threading.Condition()
        self._seen = seen
        self._figures_s, self._figured = figures_s, time.monotonic()
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
                self._figures()
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

    def _figures(self) -> None:
        """Of each source, where it is time for them."""
        now = time.monotonic()
        if self._figures_s and now - self._figured >= self._figures_s:
            self._figured = now
            for stream in self.streams:
                stream.tell_figures()

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
