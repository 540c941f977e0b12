"""The machine-wide lock: two measurements never overlap, whoever runs them."""

import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = Path("/tmp/hasten-measure.lock")  # of the machine, whatever TMPDIR says
_within = threading.RLock()  # one thread of this process at a time, which may enter again
_depth = 0


@contextmanager
def quiet() -> Iterator[None]:
    """Wait until nobody else on this machine measures, then hold the machine; may be entered again within.

    The lock is the kernel's (flock) and goes with the process that holds it, so a killed run blocks nobody. It cannot
    see a neighbour that does not ask: the load average stands among the conditions for that.
    """
    global _depth
    with _within:
        handle = _take() if _depth == 0 else -1
        _depth += 1
        try:
            yield
        finally:
            _depth -= 1
            if handle >= 0:
                os.close(handle)  # gives the lock back


def _take() -> int:
    handle = _open()
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logging.getLogger(__name__).info("another measurement runs on this machine: waiting for %s", LOCK)
        fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def _open() -> int:
    """The lock's file, whichever user made it: reading is enough to lock, and the folder is shared."""
    try:
        return os.open(LOCK, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        handle = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        os.fchmod(handle, 0o666)  # whatever the umask
        return handle
