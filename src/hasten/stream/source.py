"""Where frames come from: a file, a pipe, a camera, a URL. A live one that breaks or stalls is opened again."""

import math
import os
import select
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from hasten.errors import HastenError, InputError
from hasten.stream.decode import Decoder, opened, said
from hasten.stream.frame import NO_TIMESTAMP, Frame, Unread
from hasten.stream.waiting import State, Waiting

_POLL_S = 0.1  # between looks at whether to stop


@dataclass(frozen=True)
class Patience:
    """How long is waited for a source."""

    stall_s: float = 10.0  # without anything from it: a live one is reconnected, a pipe is said to stall
    backoff_s: float = 0.5  # before it is opened again; twice as long each time
    most_backoff_s: float = 10.0
    give_up_s: float = 60.0  # without a frame


@dataclass(frozen=True)
class Source:
    """
    Attributes:
        place: as it is printed: a path, `-` for y4m on standard input, a device, a URL.
        kind: what ends for good (file), is held back by its reader (pipe), or goes on without one (live).
        live: whether frames are dropped rather than waited for.
        paced: a file is played at the pace of its timestamps.
    """

    place: str
    kind: Literal["file", "pipe", "live"]
    live: bool = False
    paced: bool = False

    @classmethod
    def of(cls, place: str, live: bool = False) -> Self:
        """What a word of the command line means; `live`: a file or a pipe is treated as a camera.

        Raises:
            InputError: there is no such file.
        """
        if place == "-":
            return cls(place, "pipe", live)
        if "://" in place and not place.startswith("file:"):
            return cls(place, "live", True)
        try:
            mode = Path(place).stat().st_mode
        except OSError as fault:
            raise InputError(
                f"{place} does not exist", "give a video file, a device, a URL, or - for a pipe"
            ) from fault
        if stat.S_ISCHR(mode):
            return cls(place, "live", True)
        if stat.S_ISFIFO(mode):
            return cls(place, "pipe", live)
        if not stat.S_ISREG(mode):
            raise InputError(f"{place} is neither a file nor a device", "give a video file, a device, a URL, or -")
        return cls(place, "file", live, live)


class Stopped(Exception):  # noqa: N818 - the reader was asked to end
    pass


class Reader(threading.Thread):
    """Reads one source into its queue, to its end or until it is told to stop. It raises nothing."""

    def __init__(self, source: Source, waiting: Waiting, patience: Patience) -> None:
        super().__init__(name=f"reader of {source.place}", daemon=True)
        self._source, self._waiting, self._patience = source, waiting, patience
        self._asked = threading.Event()
        self._framed = time.monotonic()  # when the last frame came
        self._frames = 0

    def stop(self) -> None:
        self._asked.set()

    def run(self) -> None:
        try:
            end = self._read()
        except Stopped:
            end = State("stopped", over=True)
        except HastenError as fault:
            end = State(str(fault), over=True, failed=True)
        except Exception as fault:  # whatever a library raises ends this source, and no other
            end = State(f"{type(fault).__name__}: {said(fault)}", over=True, failed=True)
        self._waiting.put(end)

    def _read(self) -> State:
        """Connection after connection of a live source; the one that a file or a pipe has."""
        wait = self._patience.backoff_s
        while True:
            before = self._frames
            try:
                fault = self._connection()
            except InputError as refused:
                fault = str(refused)
                if self._source.kind != "live" or isinstance(refused, Unread):
                    raise
            if self._source.kind != "live":
                if not self._frames:
                    return State("gave no frame" + f" ({fault})" * bool(fault), over=True, failed=True)
                return State(f"ended early ({fault})" if fault else "ended", over=True, failed=bool(fault))
            if self._frames > before:
                wait = self._patience.backoff_s
            if time.monotonic() - self._framed > self._patience.give_up_s:
                return State(f"gave no frame for {self._patience.give_up_s:g} s ({fault})", over=True, failed=True)
            self._waiting.put(State(f"is opened again in {wait:g} s ({fault or 'it ended'})"))
            if self._asked.wait(wait):
                raise Stopped
            wait = min(2 * wait, self._patience.most_backoff_s)

    def _connection(self) -> str:
        """All frames of one connection; why it broke, or nothing where it came to its end."""
        from av.error import FFmpegError

        with self._opened() as container:
            decoder = Decoder(container)
            self._waiting.put(State("opened", opened=True))
            pace = _Pace() if self._source.paced else None
            quiet_s, blind_s = self._patience.stall_s, self._patience.give_up_s / 2
            if self._source.kind != "live":
                quiet_s = blind_s = math.inf
            try:
                for frame in decoder.frames(quiet_s, blind_s):
                    if self._asked.is_set() or (pace and self._asked.wait(pace.left(frame))):
                        raise Stopped
                    self._framed, self._frames = time.monotonic(), self._frames + 1
                    if not self._waiting.put(frame):
                        raise Stopped
            except (FFmpegError, TimeoutError) as fault:
                return said(fault)
            return ""

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        place = self._source.place
        with ExitStack() as stack:
            if self._source.kind == "pipe":
                pipe = stack.enter_context(closing(Pipe(place, self._asked, self._waiting, self._patience)))
                yield stack.enter_context(opened(pipe))
            else:
                yield stack.enter_context(opened(place) if self._source.kind == "file" else self._live())

    def _live(self) -> Any:
        place, wait_s = self._source.place, self._patience.stall_s
        if not place.startswith("/dev/video"):
            options = {"rtsp_transport": "tcp"} if place.startswith("rtsp") else {}
            return opened(place, options=options, open_s=wait_s, read_s=wait_s)
        asked = {"input_format": "mjpeg"}  # or most cameras give YUYV, which is not read
        with suppress(InputError):
            return opened(place, format_name="v4l2", options=asked, open_s=wait_s, read_s=wait_s)
        return opened(place, format_name="v4l2", open_s=wait_s, read_s=wait_s)


class Pipe:
    """What comes through a pipe, as libav reads it; it is never waited for without looking whether to stop."""

    def __init__(self, place: str, asked: threading.Event, waiting: Waiting, patience: Patience) -> None:
        self.name, self._asked, self._waiting, self._patience = place, asked, waiting, patience
        self._from = sys.stdin.fileno() if place == "-" else os.open(place, os.O_RDONLY | os.O_NONBLOCK)
        self._came, self._stalled = time.monotonic(), False

    def read(self, size: int) -> bytes:
        """
        Raises:
            Stopped: the reader is to end.
            InputError: nothing came for too long.
        """
        while not self._asked.is_set():
            ready, _, _ = select.select([self._from], [], [], _POLL_S)
            quiet = time.monotonic() - self._came
            if ready:
                self._came, self._stalled = time.monotonic(), False
                return os.read(self._from, size)
            if quiet > self._patience.give_up_s:
                raise InputError(
                    f"{self.name} gave nothing for {self._patience.give_up_s:g} s", "see what writes to it"
                )
            if quiet > self._patience.stall_s and not self._stalled:
                self._stalled = True
                self._waiting.put(State(f"gives nothing for {self._patience.stall_s:g} s"))
        raise Stopped

    def close(self) -> None:
        """Who writes to it is told."""
        if self.name != "-":
            os.close(self._from)


class _Pace:
    """When a frame of a file would be shown."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._first = 0

    def left(self, frame: Frame) -> float:
        """Seconds until then."""
        now = time.monotonic()
        if frame.time == NO_TIMESTAMP:
            return 0.0
        if self._began is None:
            self._began, self._first = now, frame.time
        return max(0.0, self._began + (frame.time - self._first) / 1e9 - now)
