"""Progress: a bar on a terminal, lines elsewhere, nothing under -q; and a screen that goes away does no harm."""

import io
import logging
import os
import sys

import pytest
from rich.console import Console

from hasten.cli._progress import PLAIN_WIDTH, Bar, Lines, console, heard, left, watching
from hasten.search.progress import Progress, Silent


def tell(progress: Progress) -> None:
    progress.stage("measuring [the] baselines")
    progress.trial(0, 3, "quantize(method=nncf) " + "long " * 30, 400.0)
    progress.note("kept: simplify 1.20x")
    progress.trial(1, 3, "half", 20.0)


def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with watching(False) as progress:
        assert isinstance(progress, Lines)
        tell(progress)
    out, said = capsys.readouterr()
    assert out == ""
    assert said.splitlines()[0] == "measuring [the] baselines"
    assert said.splitlines()[1].startswith("[1/3] quantize(method=nncf)")
    assert said.splitlines()[1].endswith("(about 7 min left)")
    assert said.splitlines()[3] == "[2/3] half (about 20 s left)"


def test_nothing_when_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with watching(True) as progress:
        assert isinstance(progress, Silent)
        tell(progress)
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal() -> None:
    screen = io.StringIO()
    out = Console(file=screen, force_terminal=True, width=100, markup=False, highlight=False)
    with Bar(out).drawn() as bar:
        tell(bar)
    shown = screen.getvalue()
    for needed in (
        "measuring [the] baselines",
        "0/3",
        "1/3",
        "about 7 min left",
        "about 20 s left",
        "kept: simplify 1.20x",
        "…",
    ):
        assert needed in shown


def test_the_bar_never_draws_by_itself() -> None:
    bar = Bar(Console(file=io.StringIO(), force_terminal=True))
    with bar.drawn():
        assert bar._live.live._refresh_thread is None  # a thread that draws would take time from what is timed


def test_a_screen_that_goes_away_is_ignored() -> None:
    gone, end = os.pipe()
    os.close(gone)
    with os.fdopen(end, "w") as stream:
        for _ in range(3):
            tell(Lines(console(stream)))


def test_a_file_gets_wide_tables() -> None:
    assert console(io.StringIO()).width == PLAIN_WIDTH
    assert console(sys.__stdout__).options.markup is not True


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "about 1 s left"), (89, "about 89 s left"), (90, "about 2 min left")]
)
def test_time_left(seconds: float, text: str) -> None:
    assert left(seconds) == text


def test_what_the_library_logs_is_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("hasten.measure.lock")
    with watching(False) as progress, heard(progress):
        logger.info("another measurement runs: waiting for %s", "it")
    logger.info("nobody listens any more")
    assert capsys.readouterr().err == "  another measurement runs: waiting for it\n"
    with watching(True) as progress, heard(progress):
        logger.info("not under -q")
    assert capsys.readouterr().err == ""
