"""Around every request: its id, its clean path, its log line, and the last resort for a bug of ours."""

import logging
import re
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge import telemetry

log = logging.getLogger("graphcap")
_LEADING_SLASHES = re.compile(r"^/{2,}")


class Frame:
    """An ASGI layer; the outermost but for CORS, so that every answer gets an id and CORS headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = telemetry.new_request_id(Headers(scope=scope).get("x-request-id"))
        telemetry.request_id.set(identity)
        scope = {**scope, "path": _LEADING_SLASHES.sub("/", scope["path"])}
        scope.setdefault("state", {})
        scope["state"] = {**scope["state"], "request_id": identity}
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
            await send(message)

        try:
            await self._app(scope, receive, send_framed)
        except Exception:  # the outermost handler: a bug of ours is logged; Starlette has told the client of it
            log.exception("bug in %s %s", scope["method"], scope["path"])
            if not whole:
                raise
        finally:
            _log_line(scope, status, started)


def _log_line(scope: Scope, status: int, started: float) -> None:
    fields = {
        "method": scope["method"],
        "path": scope["path"][:200],
        "status": status,
        "ms": round((time.perf_counter() - started) * 1000, 1),
    }
    log.info("request", extra={"fields": fields})
