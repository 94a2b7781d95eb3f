"""The limit of concurrent requests per worker. Requests over it are rejected before their body is read."""

import asyncio

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.api import responses
from bridge.api.drain import Drain
from bridge.errors import ServerAtCapacity, ShuttingDown
from bridge.telemetry import metrics


class ConcurrencyLimit:
    """Counts the requests that one worker serves, and its open WebSockets. Both have the same limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = self.sockets = 0

    @property
    def full(self) -> bool:
        """Return whether another request would be rejected."""
        return self._count >= self._limit

    @property
    def socket_is_over(self) -> bool:
        """Return whether more WebSockets are open than may be."""
        return self.sockets > self._limit

    def acquire(self) -> None:
        """Count a request. Raises ServerAtCapacity."""
        if self.full:
            raise ServerAtCapacity
        self._count += 1
        metrics.IN_FLIGHT.inc()

    def release(self) -> None:
        """Stop counting a request."""
        self._count -= 1
        metrics.IN_FLIGHT.dec()


def is_work(scope: Scope) -> bool:
    """Return whether an HTTP request leads to a provider call. Other requests cost almost nothing."""
    if scope["type"] != "http":
        return False
    return scope["method"] == "POST" or ("/providers/" in scope["path"] and scope["path"].endswith("/models"))


class ConcurrencyMiddleware:
    """Limit concurrent work, reject new work during a shutdown, and cancel it when the worker ends.

    `scope["state"]` receives `drain`, and `in_flight`, the limit that also counts the requests of WebSockets.
    """

    def __init__(self, app: ASGIApp, limit: int, drain: Drain) -> None:
        self._app = app
        self._in_flight = ConcurrencyLimit(limit)
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or reject it."""
        if scope["type"] in ("http", "websocket"):
            scope.setdefault("state", {}).update(in_flight=self._in_flight, drain=self._drain)
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif not is_work(scope):
            await self._serve(scope, receive, send, late=True)
        elif self._in_flight.full:
            await responses.reject(ServerAtCapacity(), scope, receive, send)
        else:
            self._in_flight.acquire()
            try:
                await self._serve(scope, receive, send)
            finally:
                self._in_flight.release()

    async def _serve(self, scope: Scope, receive: Receive, send: Send, *, late: bool = False) -> None:
        started = False

        async def send_and_close(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if self._drain.begun.is_set():
                    MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        try:
            with self._drain.under_way(late):
                await self._app(scope, receive, send_and_close)
        except ShuttingDown as error:
            await responses.reject(error, scope, receive, send_and_close)
        except asyncio.CancelledError:
            if not self._drain.ends_this():
                raise
            if not started:
                await responses.fail(ShuttingDown(), scope, receive, send_and_close)
