"""The process of a watch, at its worst: it says much, or who takes its lines fails."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from told import Line

from hasten import cpp
from hasten.errors import InputError
from hasten.stream.process import Process

END = """print('{"kind": "end"}', flush=True)"""
Run = Callable[[str, Callable[[Line], None]], bool]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A program of these lines instead of hasten-watch; what `run` gives or raises within twenty seconds."""

    def ran(program: str, tell: Callable[[Line], None]) -> bool:
        path = tmp_path / "program"
        path.write_text(f"#!{sys.executable}\nimport sys, time\n{program}\n")
        path.chmod(0o755)
        monkeypatch.setattr(cpp, "watch_program", lambda: path)
        process, found = Process("bundle", ["a"], tell), []

        def work() -> None:
            try:
                found.append(process.run())
            except Exception as fault:
                found.append(fault)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(20)
        if not found:
            assert process._process
            process._process.kill()
            pytest.fail("it hangs")
        if isinstance(found[0], Exception):
            raise found[0]
        return found[0]

    return ran


def test_more_than_a_pipe_holds_on_stderr(run: Run) -> None:
    """A library may say something of every damaged frame."""
    lines: list[Line] = []
    assert run(f"for i in range(4000): print('damaged ' * 10, file=sys.stderr)\n{END}", lines.append)
    assert lines == [{"kind": "end"}]


def test_the_last_thing_said_is_the_fault(run: Run) -> None:
    program = "sys.exit(print('first\\nhasten-watch: it broke; mend it\\n', file=sys.stderr) or 3)"
    with pytest.raises(InputError, match="hasten-watch: it broke; mend it"):
        run(program, print)


def test_who_takes_the_lines_fails(run: Run) -> None:
    """The process would wait for a camera; it is ended, and the fault told."""

    def full(line: Line) -> None:
        raise InputError("the disk is full")

    with pytest.raises(InputError, match="the disk is full"):
        run(f"{END}\ntime.sleep(60)", full)
