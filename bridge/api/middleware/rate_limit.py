"""Rate limits per caller, counted by the `limits` library in memory or in Redis."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil
from typing import TYPE_CHECKING, Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.api import responses
from bridge.api.middleware.concurrency import is_work
from bridge.errors import RateLimitExceeded
from bridge.settings import PREFIX, Settings, SettingsError

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.aio.strategies import RateLimiter as LimitsLimiter

log = logging.getLogger("graphcap")
_STORAGE_SECONDS = 2.0
_STORAGE_PAUSE_SECONDS = 10.0
_NAMESPACE = "graphcap"


@dataclass(frozen=True, slots=True)
class RateLimit:
    """The state of a caller's limit after a request. `window`, `reset`: seconds."""

    limit: int
    window: int
    remaining: int
    reset: int

    def headers(self) -> dict[str, str]:
        """Return the response headers (draft-ietf-httpapi-ratelimit-headers-07)."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset),
            "RateLimit-Policy": f"{self.limit};w={self.window}",
        }


class RateLimiter:
    """Counts requests per caller in sliding windows.

    If the storage fails, requests are accepted without counting for ten seconds.
    """

    def __init__(self, settings: Settings) -> None:
        self._items: list[RateLimitItem] = []
        self._paused_until = 0.0
        if settings.rate_limit:
            from limits import parse_many
            from limits.errors import StorageError

            self._items = parse_many(settings.rate_limit)
            self._failures = (StorageError, TimeoutError)
            self._limiter = _limiter(settings.rate_limit_storage.get_secret_value())

    async def count(self, caller: str) -> RateLimit | None:
        """Count one request and return the tightest limit; None if nothing is counted. Raises RateLimitExceeded."""
        if not self._items or time.monotonic() < self._paused_until:
            return None
        try:
            async with asyncio.timeout(_STORAGE_SECONDS):  # redis-py 7 retries with growing delays
                states = [await self._count(item, caller) for item in self._items]
        except self._failures as error:
            if not self._paused_until:
                log.warning(
                    "%sRATE_LIMIT_STORAGE failed (%s): requests are accepted without rate limits until it answers.",
                    PREFIX,
                    type(error).__name__,
                )
            self._paused_until = time.monotonic() + _STORAGE_PAUSE_SECONDS
            return None
        if self._paused_until:
            self._paused_until = 0.0
            log.warning("%sRATE_LIMIT_STORAGE answers again: requests are counted.", PREFIX)
        return min(states, key=lambda state: state.remaining)

    async def _count(self, item: "RateLimitItem", caller: str) -> RateLimit:
        accepted = await self._limiter.hit(item, _NAMESPACE, caller)
        window = await self._limiter.get_window_stats(item, _NAMESPACE, caller)
        reset = max(1, ceil(window.reset_time - time.time()))
        state = RateLimit(item.amount, item.get_expiry(), max(0, window.remaining), reset)
        if not accepted:
            raise RateLimitExceeded(_in_words(item), float(reset), state.headers())
        return state


def _limiter(address: str) -> "LimitsLimiter":
    from limits.aio.strategies import SlidingWindowCounterRateLimiter
    from limits.errors import ConfigurationError
    from limits.storage import storage_from_string

    options = {} if address.startswith("memory:") else {"implementation": "redispy"}
    try:
        storage: Any = storage_from_string(f"async+{address}", wrap_exceptions=True, **options)
    except (ConfigurationError, ValueError):  # the message contains the address, and the address may contain a password
        raise SettingsError((f"{PREFIX}RATE_LIMIT_STORAGE: the address cannot be used.",)) from None
    return SlidingWindowCounterRateLimiter(storage)


def _in_words(item: "RateLimitItem") -> str:
    multiple = "" if item.multiples == 1 else f"{item.multiples} "
    return f"{item.amount} request{'s' if item.amount != 1 else ''} per {multiple}{item.GRANULARITY.name}"


def client_address(scope: Scope) -> str:
    """Return the caller's address. All IPv6 addresses with the same 64-bit prefix are one caller."""
    return _caller((scope.get("client") or ("local", 0))[0])


@lru_cache(maxsize=1024)
def _caller(host: str) -> str:
    try:
        parsed = ip_address(host)
    except ValueError:
        return f"address {host}"
    if isinstance(parsed, IPv6Address):
        return f"address {parsed.ipv4_mapped or ip_network((int(parsed) >> 64 << 64, 64))}"
    return f"address {parsed}"


class RateLimitMiddleware:
    """Count every request that leads to a provider call, and add the RateLimit headers to its response.

    A WebSocket counts its own requests with `scope["state"]["rates"]`.
    """

    def __init__(self, app: ASGIApp, limiter: RateLimiter) -> None:
        self._app = app
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or reject it."""
        if scope["type"] == "websocket":
            scope["state"]["rates"] = self._limiter
        if not is_work(scope):
            await self._app(scope, receive, send)
            return
        try:
            state = await self._limiter.count(scope["state"]["caller"])
        except RateLimitExceeded as error:
            await responses.reject(error, scope, receive, _with_headers(send, error.headers))
            return
        await self._app(scope, receive, _with_headers(send, state.headers()) if state else send)


def _with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return send_with_headers
