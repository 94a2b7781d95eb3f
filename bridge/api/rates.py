"""How often one caller may ask: a limit by key where a key is shown, by address where none is."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil
from typing import TYPE_CHECKING, Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.api import answers
from bridge.api.limits import is_work
from bridge.errors import RateLimitExceeded
from bridge.settings import PREFIX, Settings, SettingsError

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.aio.strategies import RateLimiter

log = logging.getLogger("graphcap")
_REDIS_SECONDS = 0.5
_AGAIN_SECONDS = 10.0
_NAME = "graphcap"


@dataclass(frozen=True, slots=True)
class Spent:
    """What a caller has left after a request; `reset` in seconds."""

    limit: int
    window: int
    remaining: int
    reset: int

    def headers(self) -> dict[str, str]:
        """The fields that tell it (draft-ietf-httpapi-ratelimit-headers-07)."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset),
            "RateLimit-Policy": f"{self.limit};w={self.window}",
        }


class Rates:
    """Counts requests by caller in a window that slides; nothing is counted without a limit.

    Counts are this worker's, or Redis's where instances share one. While Redis does not answer, this worker counts
    by itself and asks Redis again every ten seconds.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._items: list[RateLimitItem] = []
        self._shared_from = float("-inf")
        self._failures: tuple[type[Exception], ...] = ()
        if settings.rate_limit:
            from limits import parse_many

            self._items = parse_many(settings.rate_limit)
            self._own = _limiter("memory://")
            address = settings.rate_limit_storage.get_secret_value()
            self._shared = None if address.startswith("memory:") else _limiter(address, implementation="redispy")
            self._failures = (TimeoutError, *(_failures(self._shared) if self._shared else ()))

    async def spend(self, caller: str) -> Spent | None:
        """Count one request of this caller; None without a limit. Raises RateLimitExceeded."""
        left: Spent | None = None
        for item in self._items:
            found = await self._spend(item, caller)
            left = found if left is None or found.remaining < left.remaining else left
        return left

    async def _spend(self, item: "RateLimitItem", caller: str) -> Spent:
        taken, reset, remaining = await self._ask(lambda limiter: _hit(limiter, item, caller))
        spent = Spent(item.amount, item.get_expiry(), max(0, remaining), max(1, ceil(reset - time.time())))
        if not taken:
            raise RateLimitExceeded(_words(item), float(spent.reset), spent.headers())
        return spent

    async def _ask(self, hit: Callable[["RateLimiter"], Awaitable[Any]]) -> Any:
        if self._shared is not None and self._clock() >= self._shared_from:
            try:
                async with asyncio.timeout(_REDIS_SECONDS):  # redis-py 7 repeats what fails, with growing waits
                    answer = await hit(self._shared)
            except self._failures as error:
                self._shared_from = self._clock() + _AGAIN_SECONDS
                log.warning(
                    "GRAPHCAP_RATE_LIMIT_STORAGE does not answer (%s): this worker counts requests by itself.",
                    type(error).__name__,
                )
            else:
                if self._shared_from > float("-inf"):
                    self._shared_from = float("-inf")
                    log.warning("GRAPHCAP_RATE_LIMIT_STORAGE answers again: requests are counted there.")
                return answer
        return await hit(self._own)


async def _hit(limiter: "RateLimiter", item: "RateLimitItem", caller: str) -> tuple[bool, float, int]:
    taken = await limiter.hit(item, _NAME, caller)
    stats = await limiter.get_window_stats(item, _NAME, caller)
    return taken, stats.reset_time, stats.remaining


def _limiter(address: str, **options: Any) -> "RateLimiter":
    """Counts in a window that slides, at this storage; loaded only where there is a limit."""
    from limits.aio.strategies import SlidingWindowCounterRateLimiter
    from limits.errors import ConfigurationError
    from limits.storage import storage_from_string

    try:
        storage: Any = storage_from_string(f"async+{address}", **options)
    except (ConfigurationError, ValueError):  # its words hold the address, and the address a password
        raise SettingsError((f"{PREFIX}RATE_LIMIT_STORAGE: is not an address that can be used.",)) from None
    return SlidingWindowCounterRateLimiter(storage)


def _failures(limiter: "RateLimiter") -> tuple[type[Exception], ...]:
    found: Any = limiter.storage.base_exceptions
    return found if isinstance(found, tuple) else (found,)


def _words(item: "RateLimitItem") -> str:
    times = "" if item.multiples == 1 else f"{item.multiples} "
    return f"{item.amount} request{'s' if item.amount != 1 else ''} per {times}{item.GRANULARITY.name}"


def address(scope: Scope) -> str:
    """Who calls, by address; all of an IPv6 network of 64 bits are one caller."""
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


class Rated:
    """An ASGI layer: work is counted for `scope["state"]["caller"]`, and every answer tells what is left.

    A socket counts its own requests by `scope["state"]["rates"]`.
    """

    def __init__(self, app: ASGIApp, rates: Rates) -> None:
        self._app = app
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "websocket":
            scope["state"]["rates"] = self._rates
        if not is_work(scope):
            await self._app(scope, receive, send)
            return
        try:
            spent = await self._rates.spend(scope["state"]["caller"])
        except RateLimitExceeded as error:
            await answers.refuse(error, scope, receive, _telling(send, error.headers))
            return
        await self._app(scope, receive, _telling(send, spent.headers()) if spent else send)


def _telling(send: Send, headers: Mapping[str, str]) -> Send:
    async def send_told(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return send_told
