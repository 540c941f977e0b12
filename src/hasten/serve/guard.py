"""Who may read: pages of this server, asked for by this machine's own names. A foreign page may not.

A foreign name that leads to 127.0.0.1 (DNS rebinding) is seen by `Host`; a foreign page that embeds what is here, by
`Sec-Fetch-Site`, which browsers send and pages cannot forge. Nothing is shared with other origins (no CORS).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

NAMES = ("127.0.0.1", "localhost")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Guard:
    """In front of everything that is answered."""

    def __init__(self, app: "ASGIApp") -> None:
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        from starlette.datastructures import Headers, MutableHeaders
        from starlette.responses import PlainTextResponse

        async def sealed(message: "Message") -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        reason = refused(scope["path"], dict(Headers(scope=scope)))
        if reason:
            await PlainTextResponse(reason + "\n", status_code=403)(scope, receive, sealed)
        else:
            await self._app(scope, receive, sealed)


def refused(path: str, headers: dict[str, str]) -> str:
    """Why a request is not answered; empty where it is.

    Args:
        headers: by their names in small letters.
    """
    name = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
    if name.lower() not in NAMES:
        return "this page is for the machine that it runs on: open it by 127.0.0.1 or localhost"
    site, to = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-dest", "")
    opened = path == "/" and to == "document"  # a link to the page, which shows its reader nothing
    if site not in ("same-origin", "none") and not opened:
        return "what is here is for its own page"
    return ""
