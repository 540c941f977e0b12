"""Frames that wait for their turn: so many at most. A file waits for room; a live source drops the oldest."""

import threading
from collections import deque
from dataclasses import dataclass

from hasten.stream.frame import Frame


@dataclass(frozen=True)
class State:
    """What becomes of a source. `over`: nothing comes after it; `failed`: and that is not as it should be."""

    said: str
    opened: bool = False  # a connection begins, with a clock of its own
    over: bool = False
    failed: bool = False


@dataclass(frozen=True)
class Dropped:
    """Frames, one after the other, for which there was no room; times in ns of the first and the last."""

    frames: int
    first: int
    last: int


Item = Frame | State | Dropped


class Waiting:
    """Of one source. All sources share the condition, on which the one who takes waits."""

    def __init__(self, most: int, live: bool, changed: threading.Condition) -> None:
        self._most, self._live, self._changed = most, live, changed
        self._items: deque[Frame | State] = deque()
        self._frames = 0
        self._closed = False
        self._dropped: Dropped | None = None
        self.lost = 0  # frames dropped so far

    def put(self, item: Frame | State) -> bool:
        """False where nobody takes any more."""
        with self._changed:
            if isinstance(item, Frame):
                while self._frames >= self._most and not self._closed:
                    if self._live:
                        self._drop()
                    else:
                        self._changed.wait()
                self._frames += 1
            if self._closed:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def take(self) -> Item | None:
        """The next one, what was dropped before it first; None where there is none. The caller holds the condition."""
        if self._dropped:
            dropped, self._dropped = self._dropped, None
            return dropped
        if not self._items:
            return None
        item = self._items.popleft()
        if isinstance(item, Frame):
            self._frames -= 1
            self._changed.notify_all()
        return item

    def close(self) -> None:
        """Take no more; what waits can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _drop(self) -> None:
        for i, item in enumerate(self._items):
            if isinstance(item, Frame):
                del self._items[i]
                self._frames -= 1
                self.lost += 1
                before = self._dropped
                first = before.first if before else item.time
                self._dropped = Dropped((before.frames if before else 0) + 1, first, item.time)
                return
