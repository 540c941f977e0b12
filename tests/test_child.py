"""A child process: answers, errors, limits, and that it never outlives its parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hasten.child import Child, ChildDied
from hasten.errors import InputError, UsageError
from hasten.neighbours import is_home

HERE = f"{__name__}:Served"


class Served:
    """What the child serves in these tests."""

    def __init__(self) -> None:
        self.calls = 0

    def add(self, a: float, b: float) -> list:
        self.calls += 1
        return [a + b, self.calls]

    def loud(self) -> str:
        print("a library prints", flush=True)
        os.write(1, b'{"answer": "forged"}\n')
        os.write(2, b"and warns\n")
        return "kept apart"

    def refuse(self, kind: str) -> None:
        raise {"input": InputError("it is broken", "mend it"), "usage": UsageError("no such thing")}[kind]

    def fail(self) -> float:
        return 1 / 0

    def unspeakable(self) -> object:
        return object()

    def leave(self) -> None:
        sys.exit("enough")

    def crash(self) -> None:
        os.write(2, b"the last words\n")
        os.kill(os.getpid(), signal.SIGSEGV)

    def hang(self) -> None:
        time.sleep(60)

    def grow(self) -> None:
        self.held = []
        while True:
            self.held.append(bytearray(os.urandom(1 << 20) * 8))

    def where(self) -> list[int]:
        return sorted(os.sched_getaffinity(0))

    def path(self) -> list[str]:
        return sys.path


@pytest.fixture(scope="module")
def child():
    with Child(HERE) as one:
        yield one


def test_answers_and_keeps_its_state(child: Child):
    (three, first), (seven, second) = child.call("add", a=1, b=2), child.call("add", a=3, b=4)
    assert (three, seven, second - first) == (3, 7, 1)


def test_a_long_answer_comes_whole(child: Child):
    text = "x" * 3_000_000  # more than a pipe holds
    assert child.call("add", a=text, b=text)[0] == text * 2


def test_what_libraries_print_does_not_mix_with_answers(child: Child):
    assert child.call("loud") == "kept apart"
    assert child.call("add", a=1, b=1)[0] == 2


def test_our_errors_come_back_as_they_are(child: Child):
    with pytest.raises(InputError) as fault:
        child.call("refuse", kind="input")
    assert (fault.value.what, fault.value.mend) == ("it is broken", "mend it")
    with pytest.raises(UsageError, match="no such thing"):
        child.call("refuse", kind="usage")


@pytest.mark.parametrize(
    ("method", "says"),
    [("fail", "ZeroDivisionError: division"), ("unspeakable", "TypeError"), ("leave", "SystemExit: enough")],
)
def test_any_other_exception_is_named_and_the_child_goes_on(child: Child, method: str, says: str):
    with pytest.raises(ChildDied, match=says):
        child.call(method)
    assert child.call("add", a=0, b=1)[0] == 1


def test_a_crash_is_told_with_the_last_words():
    with Child(HERE) as child:
        with pytest.raises(ChildDied, match="killed by SIGSEGV: the last words"):
            child.call("crash")
        with pytest.raises(ChildDied, match="has ended; start another"):
            child.call("add", a=1, b=1)


def test_time_is_limited():
    with Child(HERE) as child:
        child.call("where")
        began = time.monotonic()
        with pytest.raises(ChildDied, match=r"took longer than 0\.3 s"):
            child.call("hang", timeout_s=0.3)
        assert time.monotonic() - began < 5
        assert not alive(child.pid)


def test_memory_is_limited():
    with Child(HERE, memory_mb=200) as child, pytest.raises(ChildDied, match="used more than 200 MB"):
        child.call("grow", timeout_s=30)


def test_it_is_pinned():
    last = max(os.sched_getaffinity(0))
    with Child(HERE, cpus=[last]) as child:
        assert child.call("where") == [last]


def test_it_sees_the_packages_of_its_parent_and_not_the_folder_it_starts_in(
    child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert {p for p in sys.path if p and not is_home(p)} <= set(child.call("path"))
    (tmp_path / "json.py").write_text("raise SystemExit('a file of the user')")
    monkeypatch.chdir(tmp_path)
    with Child(HERE) as inside:
        assert inside.call("add", a=1, b=1)[0] == 2


def test_it_dies_with_its_parent():
    """kill -9 gives the parent no chance to tidy up."""
    script = f"""
import sys
sys.path[:0] = {sys.path!r}
from hasten.child import Child
child = Child({HERE!r})
child.call("where")
print(child.pid, flush=True)
child.call("hang")
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        pid = int(parent.stdout.readline())
        assert alive(pid)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(pid)


def test_close_is_harmless_when_repeated():
    child = Child(HERE)
    child.call("where")
    child.close()
    child.close()
    assert not alive(child.pid)
    assert child.resident_mb() == 0


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
