"""Admit or reject requests before their body is read: access, rate limits, capacity, shutdown."""

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from bridge.api import responses
from bridge.api.drain import Drain
from bridge.api.middleware.auth import AccessControl
from bridge.api.middleware.rate_limit import RateLimiter, client_address
from bridge.errors import TABLE, ServerAtCapacity, ShuttingDown
from bridge.settings import Settings
from bridge.telemetry import metrics
from bridge.telemetry.record import RequestRecord


class ConcurrencyLimit:
    """Counts the running requests and the open WebSockets of one worker. Both have the same limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._count = self.sockets = 0

    @property
    def full(self) -> bool:
        return self._count >= self.limit

    def acquire(self) -> None:
        """Count a request. Raises ServerAtCapacity."""
        if self.full:
            raise ServerAtCapacity
        self._count += 1
        metrics.IN_FLIGHT.inc()

    def release(self) -> None:
        self._count -= 1
        metrics.IN_FLIGHT.dec()


def is_work(scope: Scope) -> bool:
    """Return whether an HTTP request leads to a provider call. Other requests cost almost nothing."""
    models = "/providers/" in scope["path"] and scope["path"].endswith("/models")
    return scope["type"] == "http" and (scope["method"] == "POST" or models)


class AdmissionMiddleware:
    """Reject requests that are not allowed, or that the worker cannot serve now.

    It adds to `scope["state"]` the objects with which a WebSocket admits its own requests.
    """

    def __init__(self, app: ASGIApp, settings: Settings, drain: Drain) -> None:
        self._app = app
        self._rates = RateLimiter(settings)
        self._access = AccessControl(settings, self._rates)
        self._in_flight = ConcurrencyLimit(settings.max_in_flight)
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        scope["state"] |= {"rates": self._rates, "in_flight": self._in_flight, "drain": self._drain}
        record: RequestRecord = scope["state"]["record"]
        record.address = client_address(scope)
        work = is_work(scope)
        try:
            await self._access.check(scope)
            if work:
                record.headers = await self._rates.count(record.caller)
                self._in_flight.acquire()
        except tuple(TABLE) as error:
            record.headers = getattr(error, "headers", {})
            await responses.reject(error, scope, receive, send)
            return
        try:
            if scope["type"] == "http":
                await self._serve(scope, receive, send, during_shutdown=not work)
            else:
                await self._app(scope, receive, send)
        finally:
            if work:
                self._in_flight.release()

    async def _serve(self, scope: Scope, receive: Receive, send: Send, *, during_shutdown: bool) -> None:
        """Serve an HTTP request, which a shutdown may cancel. `during_shutdown`: also serve it then."""
        record = scope["state"]["record"]
        try:
            with self._drain.track(during_shutdown=during_shutdown):
                await self._app(scope, receive, send)
        except ShuttingDown as error:
            await responses.reject(error, scope, receive, send)
        except asyncio.CancelledError:
            if not self._drain.uncancel():
                raise
            if not record.status:
                await responses.reject(ShuttingDown(), scope, receive, send, begun=True)
