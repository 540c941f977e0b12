"""What a watch shows while it goes on: on a terminal a line a source, elsewhere a line for each thing that happens."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hasten.cli._progress import console

if TYPE_CHECKING:
    from rich.table import Table

    from hasten.stream.watch import Stream

WIDEST = 24  # of a source's name, of which the end is shown
_EVERY_S = 0.25
_SAID = ("event", "drop", "gap", "source", "end")


def table(streams: "Sequence[Stream]") -> "Table":
    """A line a source: frames a second, how many times as fast as the video, latency, drops, the last events."""
    rows = []
    for stream in streams:
        failed = stream.over.said if stream.over and stream.over.failed else ""
        rows.append(
            {"source": stream.source.place, **stream.summary(), "last": failed or ", ".join(stream.figures.last)}
        )
    return _table(rows)


def ended(ends: Sequence[dict[str, Any]]) -> "Table":
    """The same of the lines that told the ends."""
    return _table([{**end, "last": end["said"]} for end in ends])


def _table(rows: Sequence[dict[str, Any]]) -> "Table":
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
        return f"{place}: {line['name']} from {begin:.2f} to {end:.2f} s, peak {line['peak']:.2f}"
    if line["kind"] == "drop":
        return f"{place}: {line['frames']} frames dropped"
    if line["kind"] == "gap":
        return f"{place}: a gap before {(line['to'] or 0) / 1e9:.2f} s"
    return f"{place}: {line['said']}"


class Screen:
    """Takes every line; `with` it, the terminal is its own."""

    def __init__(self, quiet: bool) -> None:
        terminal = sys.__stderr__ is not None and sys.__stderr__.isatty()  # itself, not what a bar puts in its place
        self._out, self._quiet = console(sys.__stderr__ if terminal and sys.__stderr__ else sys.stderr), quiet
        self._live: Any = None
        self._drawn = 0.0

    def __enter__(self) -> "Screen":
        if not self._quiet and self._out.is_terminal:
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
        elif line["kind"] in ("event", "end"):
            self._live.console.print(sentence(line), soft_wrap=True)

    def draw(self, streams: "Sequence[Stream]") -> None:
        """The lines of all sources, a few times a second."""
        if self._live is not None and time.monotonic() - self._drawn > _EVERY_S:
            self._drawn = time.monotonic()
            self._live.update(table(streams), refresh=True)
