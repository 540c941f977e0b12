"""A child process that serves the methods of one object, under a memory and a time limit.

Engines hang or crash on hostile graphs, quantizers leak, and two sessions in one process disturb each other's timings:
so whatever is untrusted, experimental or timed lives in a child. Requests and answers are JSON lines on two pipes of
their own; what libraries print goes to a log. A child ends with its parent, however that ends.
"""

import contextlib
import ctypes
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from hasten import errors, neighbours
from hasten.errors import HastenError, InputError, Passing

_POLL_S = 0.02  # between looks at the memory, where it is limited


def _path() -> list[str]:
    """Where a child imports from: not from beside a task file, whose files could stand in for a library's."""
    return [p for p in sys.path if not neighbours.is_home(p)]


class ChildDied(InputError):  # noqa: N818 - it says what happened
    """The child was killed by a limit, crashed, or raised something that is not a HastenError: of what it was given."""


class ChildKilled(ChildDied, Passing):
    """By the system, out of memory most likely, or by somebody."""


class Child:
    """One process, one object. Use it as a context manager, or `close` it."""

    def __init__(self, target: str, *, memory_mb: int | None = None, cpus: Sequence[int] | None = None) -> None:
        """
        Make it in a thread that lives as long as the child: the kernel ends a child with the thread that started it.

        Args:
            target: "module:Class"; the class is made in the child, without arguments, when it is first called.
            memory_mb: resident memory above which the child is killed.
            cpus: the processors it may use; None: those of this process.
        """
        self.target, self.memory_mb = target, memory_mb
        self._log = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - lives as long as the child
        child_in, self._to = os.pipe()
        self._from, child_out = os.pipe()
        self._buffer = b""
        pinned = ",".join(map(str, cpus or sorted(os.sched_getaffinity(0))))
        source = str(Path(__file__).parents[1])
        self._process = subprocess.Popen(  # -P: a file of the user's folder does not stand in for a library's
            [
                sys.executable,
                "-P",
                "-m",
                "hasten.child",
                target,
                str(child_in),
                str(child_out),
                pinned,
                str(os.getpid()),
            ],
            pass_fds=(child_in, child_out),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(dict.fromkeys([source, *filter(None, _path())]))},
        )
        os.close(child_in)
        os.close(child_out)

    @property
    def pid(self) -> int:
        return self._process.pid

    def call(self, method: str, timeout_s: float = 600.0, **arguments: Any) -> Any:
        """Call a method of the child's object; arguments and answer are JSON values.

        Raises:
            HastenError: the one that the method raised.
            ChildDied: over a limit, crashed, or any other exception; the last lines of its log are in the sentence.
        """
        if self._to < 0:
            raise ChildDied(f"the child process {self.target} has ended", "start another")
        try:
            _send(self._to, json.dumps({"method": method, "arguments": arguments}))
        except BrokenPipeError:
            self._end()
        answer = json.loads(self._line(timeout_s))
        if "raised" in answer:
            kind = getattr(errors, answer["raised"], None)
            if isinstance(kind, type) and issubclass(kind, HastenError):
                raise kind(answer["what"], answer["mend"])
            raise ChildDied(f"{self.target}.{method} raised {answer['raised']}: {answer['what']}")
        return answer["answer"]

    def _line(self, timeout_s: float) -> bytes:
        """The next line that the child writes."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._from], [], [], max(0.0, min(left, _POLL_S) if self.memory_mb else left))
            if ready:
                piece = os.read(self._from, 1 << 20)
                if not piece:
                    self._end()
                self._buffer += piece
            elif time.monotonic() >= deadline:
                self._end(f"took longer than {timeout_s:g} s")
            elif self.memory_mb and self.resident_mb() > self.memory_mb:
                self._end(f"used more than {self.memory_mb} MB")
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def resident_mb(self) -> float:
        """Resident memory now, in MB; 0 once it has ended."""
        with contextlib.suppress(OSError, IndexError):
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        return 0.0

    def close(self) -> None:
        """End the process and give back its pipes; harmless when repeated."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for handle in (self._to, self._from):
            with contextlib.suppress(OSError):
                os.close(handle)
        self._to = self._from = -1
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _end(self, why: str = "") -> NoReturn:
        """Close, and say why: the limit given, else how the process itself ended."""
        kind = ChildDied
        if not why:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
            code = self._process.poll()
            ended = (
                f"was killed by {signal.Signals(-code).name}" if code and code < 0 else f"ended with exit code {code}"
            )
            why = "stopped answering" if code is None else ended
            kind = ChildKilled if code == -signal.SIGKILL else ChildDied
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - 2000))
        last = self._log.read().decode(errors="replace").strip().splitlines()[-1:]
        self.close()
        raise kind(f"the child process {self.target} {why}{': ' + last[0][:300] if last else ''}")


def _send(pipe: int, message: str) -> None:
    line = message.encode() + b"\n"
    while line:
        line = line[os.write(pipe, line) :]


def _serve(target: str, inlet: int, outlet: int, cpus: str, parent: int) -> None:
    """The child's side: make the object, then answer one request a line until the parent is gone."""
    with contextlib.suppress(OSError, AttributeError):  # Linux: die with the parent
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        return
    os.sched_setaffinity(0, {int(c) for c in cpus.split(",")})
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    module, _, name = target.partition(":")
    served = None
    with os.fdopen(inlet, "rb") as requests:
        for line in requests:
            request = json.loads(line)
            try:
                if served is None:
                    served = getattr(importlib.import_module(module), name)()
                reply = json.dumps({"answer": getattr(served, request["method"])(**request["arguments"])})
            except HastenError as fault:
                reply = json.dumps({"raised": type(fault).__name__, "what": fault.what, "mend": fault.mend})
            except BaseException as fault:  # whatever it is, the parent is to hear of it
                traceback.print_exc()
                reply = json.dumps({"raised": type(fault).__name__, "what": str(fault)[:500], "mend": ""})
            _send(outlet, reply)


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
