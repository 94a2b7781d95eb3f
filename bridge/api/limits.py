"""How much is taken on at once: what is over it is refused at once, before its body is read."""

import asyncio

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.api import answers
from bridge.api.drain import Drain
from bridge.errors import ServerAtCapacity, ShuttingDown
from bridge.telemetry import metrics


class InFlight:
    """Counts the requests of one worker that are under way."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0

    @property
    def full(self) -> bool:
        """Whether one more would be refused."""
        return self._count >= self._limit

    def take(self) -> None:
        """Count one more. Raises ServerAtCapacity."""
        if self.full:
            raise ServerAtCapacity
        self._count += 1
        metrics.IN_FLIGHT.inc()

    def give_back(self) -> None:
        """Count one less."""
        self._count -= 1
        metrics.IN_FLIGHT.dec()


def is_work(scope: Scope) -> bool:
    """Whether a request makes a provider work; what reads the service itself costs next to nothing."""
    if scope["type"] != "http":
        return False
    return scope["method"] == "POST" or ("/providers/" in scope["path"] and scope["path"].endswith("/models"))


class Limited:
    """An ASGI layer: work is counted while it is under way, and every request ended with the worker.

    Everybody behind it finds `drain` in `scope["state"]`; a socket also `in_flight`, to count its own requests.
    """

    def __init__(self, app: ASGIApp, limit: int, drain: Drain) -> None:
        self._app = app
        self._in_flight = InFlight(limit)
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] in ("http", "websocket"):
            scope.setdefault("state", {}).update(in_flight=self._in_flight, drain=self._drain)
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if not is_work(scope):
            await self._carried(scope, receive, send, late=True)
            return
        try:
            self._in_flight.take()
        except ServerAtCapacity as error:
            await answers.refuse(error, scope, receive, send)
            return
        try:
            await self._carried(scope, receive, send)
        finally:
            self._in_flight.give_back()

    async def _carried(self, scope: Scope, receive: Receive, send: Send, *, late: bool = False) -> None:
        started = False

        async def send_last(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if self._drain.begun.is_set():
                    MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        try:
            with self._drain.under_way(late):
                await self._app(scope, receive, send_last)
        except ShuttingDown as error:
            await answers.refuse(error, scope, receive, send_last)
        except asyncio.CancelledError:
            if not self._drain.ends_this():
                raise
            if not started:
                await answers.fail(ShuttingDown(), scope, receive, send_last)
