"""HTTP connections and local engines, shared by all provider clients of one process.

The pool overrides the SDKs' settings: it follows no redirects, stores no cookies, and accepts no compressed or very
large responses.
"""

import asyncio
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING

from providers.local_supervisor import Engines

if TYPE_CHECKING:
    import httpx2

KEEPALIVE_SECONDS = 4.0  # after which idle connections are closed. uvicorn, which vLLM uses, closes them after 5


class Pool:
    """Shared httpx2 clients, which are opened on first use. `aclose()` closes them."""

    def __init__(
        self,
        transport: "Callable[[float], httpx2.AsyncBaseTransport] | None" = None,
        *,
        tells_addresses: bool = True,
        engines: Engines | None = None,
    ) -> None:
        """`transport`: creates a transport; its argument is the number of seconds that idle connections are kept open.
        With `transport`, proxies from the environment are not used: they would bypass its check of addresses.
        `tells_addresses`: error messages may contain base URLs. `engines`: llama.cpp processes, by default a new set.
        """
        self.engines = engines or Engines()
        self._transport = transport
        self._tells_addresses = tells_addresses
        self._clients: dict[float, httpx2.AsyncClient] = {}
        self._opening = Lock()  # provider clients are created in threads, because importing their SDKs is slow

    @property
    def client(self) -> "httpx2.AsyncClient":
        """Return the shared client, which reuses connections."""
        return self._client(KEEPALIVE_SECONDS)

    @property
    def fresh_client(self) -> "httpx2.AsyncClient":
        """Return the shared client that opens a new connection for each request, for connection checks."""
        return self._client(0.0)

    def shown(self, base_url: str) -> str:
        """Return the base URL to show in error messages, "" if the messages must not contain it."""
        return base_url if self._tells_addresses else ""

    async def aclose(self) -> None:
        """Close every connection, and end the engines that this process started."""
        while self._clients:
            _, client = self._clients.popitem()
            await client.aclose()
        await asyncio.to_thread(self.engines.close)

    def _client(self, keepalive: float) -> "httpx2.AsyncClient":
        from providers.transport import open_client

        with self._opening:
            if keepalive not in self._clients:
                transport = self._transport(keepalive) if self._transport else None
                self._clients[keepalive] = open_client(transport, keepalive)
            return self._clients[keepalive]
