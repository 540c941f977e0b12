"""The lock: one measurement at a time on the machine, entered again freely within a process, gone with its holder."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hasten.measure import lock

_HOLD = """
import sys, time
sys.path[:0] = {path!r}
from pathlib import Path
from hasten.measure import lock
lock.LOCK = Path({lock!r})
with lock.quiet():
    print("held", flush=True)
    sys.stdin.read()
    print("over", flush=True)
"""


@pytest.fixture
def holder(own_lock: Path):
    """Another process that holds the lock until its input is closed."""
    script = _HOLD.format(path=sys.path, lock=str(own_lock))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def entered_within(seconds: float) -> bool:
    """Whether this process gets the lock in that time; it is let go at once."""
    got = threading.Event()

    def enter() -> None:
        with lock.quiet():
            got.set()

    threading.Thread(target=enter, daemon=True).start()
    return got.wait(seconds)


def test_another_process_waits_its_turn(holder: subprocess.Popen):
    assert not entered_within(0.3)
    holder.stdin.close()
    assert holder.stdout.readline() == "over\n"
    assert entered_within(5)


def test_a_killed_holder_blocks_nobody(holder: subprocess.Popen):
    holder.kill()
    holder.wait()
    assert entered_within(5)


def test_within_a_process_it_may_be_entered_again(own_lock: Path):
    with lock.quiet():
        with lock.quiet():
            assert own_lock.exists()
        assert not entered_within(0.1)  # leaving the inner one does not let it go
    assert entered_within(5)


def test_another_thread_waits_too():
    times = {}

    def hold() -> None:
        with lock.quiet():
            times["in"] = time.monotonic()
            time.sleep(0.2)
            times["out"] = time.monotonic()

    thread = threading.Thread(target=hold)
    thread.start()
    while "in" not in times:
        time.sleep(0.001)
    with lock.quiet():
        assert time.monotonic() >= times["out"]
    thread.join()


def test_it_is_let_go_when_a_measurement_fails():
    with pytest.raises(ZeroDivisionError), lock.quiet():
        _ = 1 / 0
    assert entered_within(5)


def test_every_user_of_the_machine_can_take_it(own_lock: Path):
    with lock.quiet():
        pass
    assert own_lock.stat().st_mode & 0o777 == 0o666
    own_lock.chmod(0o444)  # made by another user
    with lock.quiet():
        pass


def test_a_link_in_its_place_is_not_followed(own_lock: Path, tmp_path: Path):
    own_lock.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"), lock.quiet():
        pass
    assert not (tmp_path / "elsewhere").exists()
