"""From frames at any rate to samples on an even grid. spec/time.md has the rules, cpp/core the arithmetic."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hasten.pipeline import Window
from hasten.prepare import native
from hasten.stream.frame import Frame


@dataclass(frozen=True)
class Sample:
    """A point of the grid and the frame that stands for it.

    Attributes:
        row: as the core has it, i64 [4]: time in ns, number of the frame, index in its segment, segment.
    """

    row: np.ndarray
    frame: Frame

    @property
    def time(self) -> int:
        return int(self.row[0])

    @property
    def index(self) -> int:
        return int(self.row[2])


class Sampler:
    """Trusted frames in, samples out. It keeps one frame: a point is settled by the frame before it or this one."""

    def __init__(self, window: Window) -> None:
        self._core: Any = native("video by timestamp").Sampler(window.fps, max_gap=round(window.max_gap_s * 1e9))
        self._last: Frame | None = None
        self._frames = 0

    def push(self, frame: Frame) -> Iterator[Sample]:
        """The samples that this frame settles, in order."""
        number, last = self._frames, self._last
        dropped = self._core.dropped
        rows = self._core.push(frame.time)
        self._frames += 1
        if self._core.dropped == dropped:
            self._last = frame
        for row in rows:
            chosen = frame if int(row[1]) == number else last
            assert chosen is not None  # the core gives this frame or the one taken before it
            yield Sample(row, chosen)

    @property
    def dropped(self) -> int:
        """Frames without a timestamp, repeated or out of order."""
        return int(self._core.dropped)
