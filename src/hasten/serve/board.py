"""What a page shows of a watch: of each source the lines that still matter, and no more than those.

Who opens the page late reads them from the first on; who is slow reads on from where it was, and has missed what does
not matter any more. So nothing is kept for a reader, and no reader can make anything grow.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

TRACE_S = 60.0  # of windows, by the source's own clock
MOST_WINDOWS = 4096
MOST_EVENTS = 100
_MOST = {"gap": 20, "drop": 20, "source": 5, "figures": 1, "end": 1}  # the last ones of a source


@dataclass(frozen=True)
class Entry:
    """A line as JSON, and its number: they rise by one from line to line of all sources."""

    number: int
    text: str
    end: int = 0  # of a window, ns


class Board:
    """Lines come from one thread, and are read from any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0
        self._sources: dict[str, _Kept] = {}
        self._over = False

    def tell(self, line: dict[str, Any]) -> None:
        """A line of spec/stream.md; `at`, when it was told in seconds since 1970, is added."""
        text = json.dumps({"at": round(time.time(), 3), **line}, allow_nan=False)
        with self._lock:
            self._number += 1
            self._sources.setdefault(line["source"], _Kept()).keep(line, self._number, text)

    def finish(self) -> None:
        """No line comes any more."""
        with self._lock:
            self._over = True

    def since(self, number: int) -> tuple[list[Entry], bool]:
        """What has been told after that line and still matters, in order; and whether no more will be."""
        with self._lock:
            found = [entry for kept in self._sources.values() for entry in kept.since(number)]
            return sorted(found, key=lambda entry: entry.number), self._over


class _Kept:
    """Of one source."""

    def __init__(self) -> None:
        self._last: dict[str, deque[Entry]] = {kind: deque(maxlen=most) for kind, most in _MOST.items()}
        self._windows: deque[Entry] = deque(maxlen=MOST_WINDOWS)
        self._begun: dict[int, Entry] = {}  # by class, those whose event still lasts
        self._events: deque[tuple[Entry | None, Entry]] = deque(maxlen=MOST_EVENTS)  # the begin of each, and itself

    def keep(self, line: dict[str, Any], number: int, text: str) -> None:
        kind = line["kind"]
        if kind == "window":
            self._window(Entry(number, text, line["end"]))
        elif kind == "begin":
            self._begun[line["label"]] = Entry(number, text)
        elif kind == "event":
            self._events.append((self._begun.pop(line["label"], None), Entry(number, text)))
        elif kind in self._last:
            self._last[kind].append(Entry(number, text))

    def _window(self, entry: Entry) -> None:
        """A clock that was set back begins the trace anew."""
        kept = self._windows
        if kept and entry.end <= kept[-1].end:
            kept.clear()
        while kept and kept[0].end < entry.end - TRACE_S * 1e9:
            kept.popleft()
        kept.append(entry)

    def since(self, number: int) -> Iterator[Entry]:
        for entries in (self._windows, *self._last.values()):
            yield from _after(entries, number)
        pairs = (entry for pair in self._events for entry in pair if entry)
        yield from (entry for entry in (*self._begun.values(), *pairs) if entry.number > number)


def _after(entries: deque[Entry], number: int) -> Iterable[Entry]:
    """The end of a row whose numbers rise: only as much is looked at as there is."""
    for entry in reversed(entries):
        if entry.number <= number:
            return
        yield entry
