"""The server of the page, in a thread beside the watch: 127.0.0.1 alone."""

import asyncio
import errno
import socket
import threading
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hasten import manifest
from hasten.errors import MissingError, UsageError
from hasten.pipeline import Pipeline
from hasten.serve.app import LEAVE_S, application
from hasten.serve.board import TRACE_S, Board
from hasten.serve.pictures import Pictures
from hasten.stream.frame import Frame

HOST = "127.0.0.1"
_MOST_CONNECTIONS = 64  # the next one is turned away
_ASIDE_S = 1  # for what is being sent when the watch ends


def missing() -> str | None:
    """What the page lacks on this machine, and what mends it; None when it lacks nothing."""
    needed = (("starlette", "starlette"), ("uvicorn", "uvicorn"), ("pillow", "PIL"))
    absent = next((name for name, module in needed if find_spec(module) is None), None)
    return f"{absent} is not installed: pip install 'hasten[serve]'" if absent else None


class Server:
    """`with` it, the page is there; `tell` and `seen` are what a watch calls."""

    def __init__(self, port: int, bundle: str | Path, sources: Sequence[str], *, pictures: bool = True) -> None:
        """
        Args:
            port: 0: any that is free.
            bundle: its classes and thresholds are shown.
            sources: their places, in the order of the watch.
            pictures: whether `seen` will be called.

        Raises:
            InputError: no bundle.
            MissingError: a package is not installed.
            UsageError: the port cannot be had.
        """
        if reason := missing():
            raise MissingError("the page cannot be served", reason)
        answer = Pipeline.from_json(manifest.read(Path(bundle))["pipeline"]).answer
        self._about = {
            "bundle": str(bundle), "classes": answer.labels, "on": answer.on, "off": answer.off,
            "sources": list(sources), "pictures": pictures, "trace_s": TRACE_S,
        }  # fmt: skip
        self._board, self._pictures = Board(), Pictures(len(sources)) if pictures else None
        self._socket = _bound(port)
        self.url = f"http://{HOST}:{self._socket.getsockname()[1]}/"

    def tell(self, line: dict[str, Any]) -> None:
        """A line of the watch."""
        self._board.tell(line)

    def seen(self, source: int, frame: Frame) -> None:
        """A frame of the watch."""
        if self._pictures:
            self._pictures.seen(source, frame)

    def __enter__(self) -> Self:
        import uvicorn

        config = uvicorn.Config(
            application(self._about, self._board, self._pictures), http="h11", ws="none", loop="asyncio",
            lifespan="off", log_config=None, log_level="critical", access_log=False, server_header=False,
            date_header=False, proxy_headers=False, limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_ASIDE_S,
        )  # fmt: skip
        self._server = uvicorn.Server(config)  # outside the main thread it leaves signals alone
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="page", daemon=True)
        self._thread.start()
        return self

    async def _run(self) -> None:
        """To the end; those who do not read what is theirs are left."""
        await self._server.serve(sockets=[self._socket])
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What has been told is sent, to those who read; the server goes when they have gone."""
        self._board.finish()
        until = time.monotonic() + LEAVE_S
        while self._server.server_state.tasks and time.monotonic() < until:
            time.sleep(0.02)
        self._server.should_exit = True
        self._thread.join(2.0 + _ASIDE_S)


def _bound(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what lingers of an earlier watch does not count
    try:
        made.bind((HOST, port))
        made.listen(_MOST_CONNECTIONS)
    except OSError as fault:
        made.close()
        what = {errno.EADDRINUSE: "is in use", errno.EACCES: "is for root alone"}.get(fault.errno or 0, str(fault))
        raise UsageError(f"port {port} {what}", "give another one, or 0 for any that is free") from fault
    return made
