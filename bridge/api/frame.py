"""Around every request: its id, its clean path, its log line, and the last resort for a bug of ours."""

import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge import telemetry
from bridge.api import answers

log = logging.getLogger("graphcap")
_NO_PAGE = "default-src 'none'; frame-ancestors 'none'"
"""The policy of whatever is not meant to be opened as a page: a browser runs nothing of it and frames it nowhere."""


class Frame:
    """An ASGI layer; the outermost but for CORS, so that every answer gets an id and CORS headers.

    Behind it a path is the root path and one slash, whether or not the proxy took the root path away and however
    many slashes the client wrote.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root = clean_root(root_path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] in ("http", "websocket"):
            scope = {**scope, "path": self._clean(scope["path"]), "root_path": self._root}
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = telemetry.new_request_id(Headers(scope=scope).get("x-request-id"))
        telemetry.request_id.set(identity)
        scope["state"] = {**scope.get("state", {}), "request_id": identity}
        started = time.perf_counter()
        status, whole = 0, False

        async def send_framed(message: Message) -> None:
            nonlocal status, whole
            whole = message["type"] == "http.response.body" and not message.get("more_body")
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = identity
                headers["Server-Timing"] = f"total;dur={(time.perf_counter() - started) * 1000:.1f}"
                headers.setdefault("X-Content-Type-Options", "nosniff")
                headers.setdefault("Content-Security-Policy", _NO_PAGE)
            await send(message)

        try:
            await self._app(scope, receive, send_framed)
        except Exception as error:  # the outermost handler: a bug of ours is logged, and told without its words
            log.exception("bug in %s %s", scope["method"], scope["path"])
            if not status:
                await answers.fail(error, scope, receive, send_framed)
            elif not whole:
                raise
        finally:
            _log_line(scope, status, started)

    def _clean(self, path: str) -> str:
        path = "/" + path.lstrip("/")
        below = path.removeprefix(self._root)
        inside = not below or below.startswith("/")
        return self._root + "/" + (below if inside else path).lstrip("/")


def clean_root(path: str) -> str:
    """A root path as ASGI wants it: a slash before it and none after it, "" for none."""
    return f"/{path.strip('/')}".rstrip("/")


def _log_line(scope: Scope, status: int, started: float) -> None:
    fields = {
        "method": scope["method"],
        "path": scope["path"][:200],
        "status": status,
        "ms": round((time.perf_counter() - started) * 1000, 1),
        **scope["state"].get("noted", {}),
    }
    log.info("request", extra={"fields": fields})
