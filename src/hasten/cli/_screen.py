"""What a watch shows while it goes on: on a terminal a line a source, elsewhere a line for each thing that happens."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hasten.cli._progress import console

if TYPE_CHECKING:
    from rich.table import Table

WIDEST = 24  # of a source's name, of which the end is shown
EVERY_S = 0.25  # between two tables
_SAID = ("begin", "event", "drop", "gap", "source", "end")
_LAST = 3  # events in the table


@dataclass
class _Row:
    """Of one source, from its lines."""

    figures: dict[str, Any] | None = None
    begun: dict[int, str] = field(default_factory=dict)  # by class, while the event lasts
    last: list[str] = field(default_factory=list)
    failed: str = ""

    def take(self, line: dict[str, Any]) -> None:
        kind = line["kind"]
        if kind in ("figures", "end"):
            self.figures = line
            self.failed = line["said"] if line.get("failed") else ""
        elif kind == "begin":
            self.begun[line["label"]] = f"{line['name']} since {line['begin'] / 1e9:.2f} s"
        elif kind == "event":
            self.begun.pop(line["label"], None)
            self.last = [*self.last, f"{line['name']} at {line['begin'] / 1e9:.2f} s"][-_LAST:]

    def said(self) -> str:
        return self.failed or ", ".join([*self.last, *self.begun.values()][-_LAST:])


def ended(ends: Sequence[dict[str, Any]]) -> "Table":
    """A line a source, of the lines that told the ends."""
    return _table([{**end, "last": end["said"]} for end in ends])


def _table(rows: Sequence[dict[str, Any]]) -> "Table":
    """Frames a second, how many times as fast as the video, latency, drops, events, and what is said last."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE)
    made.add_column("source", no_wrap=True)
    for name in ("frames/s", "x real", "p50 ms", "p99 ms", "dropped", "events"):
        made.add_column(name, justify="right", no_wrap=True)
    made.add_column("last", no_wrap=True)
    for row in rows:
        latencies = ("" if row[k] is None else f"{row[k]:.1f}" for k in ("latency_p50_ms", "latency_p99_ms"))
        rates = (f"{row[k] / row['seconds']:.1f}" for k in ("frames", "stream_s"))
        place = row["source"] if len(row["source"]) <= WIDEST else f"…{row['source'][1 - WIDEST :]}"
        made.add_row(place, *rates, *latencies, str(row["dropped"]), str(row["events"]), row["last"])
    return made


def sentence(line: dict[str, Any]) -> str:
    """A line that was told, for people."""
    place = line["source"]
    if line["kind"] == "event":
        begin, end = line["begin"] / 1e9, line["end"] / 1e9
        peak = "" if line["peak"] is None else f", peak {line['peak']:.2f}"
        return f"{place}: {line['name']} from {begin:.2f} to {end:.2f} s{peak}"
    if line["kind"] == "begin":
        return f"{place}: {line['name']} begins at {line['begin'] / 1e9:.2f} s"
    if line["kind"] == "drop":
        return f"{place}: {line['frames']} frames dropped"
    if line["kind"] == "gap":
        return f"{place}: a gap" if line["to"] is None else f"{place}: a gap before {line['to'] / 1e9:.2f} s"
    return f"{place}: {line['said']}"


class Screen:
    """Takes every line; `with` it, the terminal is its own.

    Attributes:
        drawn: there is a table, which is drawn whenever figures are told.
    """

    def __init__(self, quiet: bool) -> None:
        terminal = sys.__stderr__ is not None and sys.__stderr__.isatty()  # itself, not what a bar puts in its place
        self._out, self._quiet = console(sys.__stderr__ if terminal and sys.__stderr__ else sys.stderr), quiet
        self.drawn = not quiet and self._out.is_terminal
        self._live: Any = None
        self._at = 0.0
        self._rows: dict[str, _Row] = {}

    def __enter__(self) -> "Screen":
        if self.drawn:
            from rich.live import Live

            self._live = Live(console=self._out, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *about: object) -> None:
        if self._live:
            self._live.stop()

    def tell(self, line: dict[str, Any]) -> None:
        """Show what there is to show."""
        if self._quiet:
            return
        if self._live is None:
            if line["kind"] in _SAID:
                self._out.print(sentence(line), soft_wrap=True)
            return
        self._rows.setdefault(line["source"], _Row()).take(line)
        if line["kind"] in ("event", "end"):
            self._live.console.print(sentence(line), soft_wrap=True)
        elif line["kind"] == "figures" and time.monotonic() - self._at > EVERY_S / 2:
            self._at = time.monotonic()
            self._live.update(self.table(), refresh=True)

    def table(self) -> "Table":
        """A line for each source of which there are figures."""
        rows = ((place, row) for place, row in self._rows.items() if row.figures)
        return _table([{**(row.figures or {}), "source": place, "last": row.said()} for place, row in rows])
