"""Streams of frames that arrive at a fixed rate, served by a bundle in Python. Made in a child process.

Time runs from the moment at which a frame is due, not from when there was time for it: a server that is late cannot
make the next frame come later. Frames wait in a queue of bounded length; where it is full, the oldest one is dropped.
"""

import time
from collections import deque
from typing import Any

from hasten.measure._load_subject import Loaded

KEPT = 256  # answers that are kept, for a comparison with those at rest
KEPT_BYTES = 64 << 20  # of them, at most
LEAD_S = 0.05  # before the first frame


class Live:
    """`open` comes first."""

    def open(self, bundle: str, samples: str) -> int:
        """See Loaded.open."""
        self._loaded = Loaded()
        return self._loaded.open(bundle, samples)

    def probe(self, seconds: float) -> dict[str, Any]:
        """See Loaded.probe."""
        return self._loaded.probe(seconds)

    def serve(self, streams: int, fps: float, seconds: float, waiting: int) -> dict[str, Any]:
        """Serve frames for so long; they are due at even distances, stream after stream.

        Args:
            waiting: frames that may wait, of all streams together.

        Returns:
            frames: how many were due; ms: from due to answered, of those that were served, in order; dropped: how many
            were not; seconds: from the first frame that was due to the last answer; kept: [number of the sample, hex].
        """
        period, count = 1 / (streams * fps), round(seconds * streams * fps)
        clock, answer, samples = time.perf_counter, self._loaded.answer, self._loaded.count
        queue: deque[int] = deque()
        times: list[float] = []
        kept: list[tuple[int, str]] = []
        dropped = due = 0
        every = max(1, count // KEPT)
        start = end = clock() + LEAD_S
        while due < count or queue:
            now = clock()
            while due < count and start + due * period <= now:
                if len(queue) == waiting:
                    queue.popleft()
                    dropped += 1
                queue.append(due)
                due += 1
            if not queue:
                time.sleep(max(0.0, start + due * period - clock()))
                continue
            frame = queue.popleft()
            made = answer([frame % samples])
            end = clock()
            times.append(1e3 * (end - start - frame * period))
            if frame % every == 0 and len(kept) * made.nbytes < KEPT_BYTES:
                kept.append((frame % samples, made.tobytes().hex()))
        return {"frames": count, "ms": times, "dropped": dropped, "seconds": end - start, "kept": kept}
