"""Shows how a long job goes, on stderr: a bar on a terminal, lines elsewhere, nothing under -q.

Nothing is drawn but when the job says something: a bar that redraws itself would take time from what is being timed.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from hasten.search.progress import Progress, Silent

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_WIDTH = 160  # of tables that go to a file or a pipe, where nobody knows the width


def console(stream: TextIO) -> "Console":
    """For text that is shown as it is, whatever brackets are in it, to a reader that may go away."""
    from rich.console import Console

    class Patient(Console):
        def on_broken_pipe(self) -> None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)

    made = Patient(file=stream, markup=False, highlight=False, emoji=False)
    if not made.is_terminal:
        made.width = PLAIN_WIDTH
    return made


class Lines:
    """One line for each thing that happens."""

    def __init__(self, out: "Console") -> None:
        self._out = out

    def stage(self, text: str) -> None:
        self._out.print(text, soft_wrap=True)

    def trial(self, done: int, total: int, text: str, seconds_left: float) -> None:
        self.stage(f"[{min(done + 1, total)}/{total}] {text} ({left(seconds_left)})")

    def note(self, text: str) -> None:
        self.stage(f"  {text}")


class Bar:
    """What is under way, how far it is and how long it takes; what came out scrolls by above."""

    def __init__(self, out: "Console") -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Live

        columns = (
            TextColumn("{task.description}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self._live = Live(*columns, console=out, auto_refresh=False, transient=True)
        self._task = self._live.add_task("", total=None, left="", visible=False)

    def stage(self, text: str) -> None:
        self._live.console.print(text)
        self._live.update(self._task, visible=False, refresh=True)

    def trial(self, done: int, total: int, text: str, seconds_left: float) -> None:
        room = max(20, self._live.console.width - 60)
        short = text if len(text) <= room else f"{text[: room - 1]}…"
        self._live.update(
            self._task,
            description=short,
            completed=done,
            total=total,
            left=left(seconds_left),
            visible=True,
            refresh=True,
        )

    def note(self, text: str) -> None:
        self._live.console.print(f"  {text}")
        self._live.refresh()

    @contextmanager
    def drawn(self) -> Iterator["Bar"]:
        with self._live:
            yield self


@contextmanager
def heard(progress: Progress) -> Iterator[None]:
    """What the library logs (that it waits for another measurement, say) is a note."""

    class Note(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            progress.note(record.getMessage())

    logger, note = logging.getLogger("hasten"), Note()
    level = logger.level
    logger.addHandler(note)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(note)


@contextmanager
def watching(quiet: bool) -> Iterator[Progress]:
    """The progress for this process's stderr."""
    import sys

    if quiet:
        yield Silent()
        return
    out = console(sys.stderr)
    if out.is_terminal:
        with Bar(out).drawn() as bar:
            yield bar
    else:
        yield Lines(out)


def left(seconds: float) -> str:
    """`about 3 min left`."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s left"
    return f"about {round(seconds / 60)} min left"
