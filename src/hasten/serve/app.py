"""What a browser is answered: the page and its parts, lines as server-sent events, the newest picture of a source."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from hasten.serve.board import Board, Entry
from hasten.serve.guard import Guard
from hasten.serve.pictures import Pictures

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request

EVERY_S = 0.1  # between two looks at what is new
LEAVE_S = 1.0  # for a browser to go, when it has been told that the watch is over
_AT_ONCE = 200  # lines: a browser that does not read holds up no more than these
_PARTS = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}


def application(about: Mapping[str, Any], board: Board, pictures: Pictures | None) -> "Starlette":
    """
    Args:
        about: what the page has to know before the first line; values of JSON.
        pictures: None where nobody sees frames.
    """
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware import Middleware
    from starlette.responses import Response, StreamingResponse
    from starlette.routing import Route

    def part(name: str, kind: str) -> Any:
        content = files("hasten.serve").joinpath(name).read_bytes()

        async def answer(request: "Request") -> Response:
            return Response(content, media_type=kind)

        return answer

    async def lines(request: "Request") -> Response:
        return StreamingResponse(_told(about, board), media_type="text/event-stream")

    async def picture(request: "Request") -> Response:
        source, after = request.path_params["source"], request.query_params.get("after", "0")
        if pictures is None or source >= len(pictures) or not after.isdecimal():
            return Response(status_code=404)
        found = await run_in_threadpool(pictures.newer, source, int(after[:18]))
        if found is None:
            return Response(status_code=204)
        return Response(found.jpeg, media_type="image/jpeg", headers={"Picture-Number": str(found.number)})

    routes = [Route(path, part(*of)) for path, of in _PARTS.items()]
    routes += [Route("/lines", lines), Route("/picture/{source:int}", picture)]
    return Starlette(routes=routes, middleware=[Middleware(Guard)])


async def _told(about: Mapping[str, Any], board: Board) -> AsyncIterator[str]:
    """All lines that matter, then each as it comes; when the watch is over the browser is told so, and goes."""
    yield _event("hello", json.dumps(about))
    number = 0
    while True:
        began = time.monotonic()
        entries, over = board.since(number)
        for at in range(0, len(entries), _AT_ONCE):
            yield _event("lines", _array(entries[at : at + _AT_ONCE]))
        number = entries[-1].number if entries else number
        if over:
            yield _event("over", "{}")
            await asyncio.sleep(LEAVE_S)  # a server that left first would refuse the picture that is just asked for
            return
        await asyncio.sleep(max(0.0, began + EVERY_S - time.monotonic()))


def _array(entries: Sequence[Entry]) -> str:
    return f"[{','.join(entry.text for entry in entries)}]"


def _event(name: str, data: str) -> str:
    return f"event: {name}\ndata: {data}\n\n"
