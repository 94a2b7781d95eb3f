"""Rate limits per caller, counted by the `limits` library in memory or in Redis."""

import asyncio
import logging
import time
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil
from typing import TYPE_CHECKING

from starlette.types import Scope

from bridge.errors import RateLimitExceeded
from bridge.settings import PREFIX, Settings, open_storage

if TYPE_CHECKING:
    from limits import RateLimitItem

log = logging.getLogger("graphcap")
_STORAGE_SECONDS = 2.0
_STORAGE_PAUSE_SECONDS = 10.0
_NAMESPACE = "graphcap"


class RateLimiter:
    """Counts requests per caller in sliding windows. While the storage fails, requests are accepted uncounted."""

    def __init__(self, settings: Settings) -> None:
        self._items: list[RateLimitItem] = []
        self._paused_until = 0.0
        if settings.rate_limit:
            from limits import parse_many
            from limits.aio.strategies import SlidingWindowCounterRateLimiter
            from limits.errors import StorageError

            self._items = parse_many(settings.rate_limit)
            self._failures = (StorageError, TimeoutError)
            self._limiter = SlidingWindowCounterRateLimiter(
                open_storage(settings.rate_limit_storage.get_secret_value())
            )

    async def count(self, caller: str) -> dict[str, str]:
        """Count one request. Return the RateLimit headers of the tightest limit, if any. Raises RateLimitExceeded."""
        if not self._items or time.monotonic() < self._paused_until:
            return {}
        try:
            async with asyncio.timeout(_STORAGE_SECONDS):  # redis-py 7 retries, with growing delays
                states = [await self._count(item, caller) for item in self._items]
        except self._failures as error:
            if not self._paused_until:
                message = (
                    "%sRATE_LIMIT_STORAGE failed (%s): requests are accepted without rate limits until it answers."
                )
                log.warning(message, PREFIX, type(error).__name__)
            self._paused_until = time.monotonic() + _STORAGE_PAUSE_SECONDS
            return {}
        if self._paused_until:
            self._paused_until = 0.0
            log.warning("%sRATE_LIMIT_STORAGE answers again: requests are counted.", PREFIX)
        return min(states, key=lambda headers: int(headers["RateLimit-Remaining"]))

    async def _count(self, item: "RateLimitItem", caller: str) -> dict[str, str]:
        """Count one request against one limit, and return its headers (draft-ietf-httpapi-ratelimit-headers-07)."""
        accepted = await self._limiter.hit(item, _NAMESPACE, caller)
        window = await self._limiter.get_window_stats(item, _NAMESPACE, caller)
        reset = max(1, ceil(window.reset_time - time.time()))
        headers = {
            "RateLimit-Limit": str(item.amount),
            "RateLimit-Remaining": str(max(0, window.remaining)),
            "RateLimit-Reset": str(reset),
            "RateLimit-Policy": f"{item.amount};w={item.get_expiry()}",
        }
        if not accepted:
            requests = "1 request" if item.amount == 1 else f"{item.amount} requests"
            multiple = "" if item.multiples == 1 else f"{item.multiples} "
            raise RateLimitExceeded(f"{requests} per {multiple}{item.GRANULARITY.name}", float(reset), headers)
        return headers


def client_address(scope: Scope) -> str:
    """Return the address under which a caller is counted: its IPv4 address, or the /64 network of its IPv6 address."""
    return _network((scope.get("client") or ("local", 0))[0])


@lru_cache
def _network(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or ip_network((int(address) >> 64 << 64, 64)))
    return str(address)
