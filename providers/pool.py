"""HTTP connections, shared by all provider clients of one process.

openai and google-genai use httpx2. ollama uses httpx, whose requests `providers.httpx_bridge` sends through the same
httpx2 client. Whatever the SDK wants: no redirect is followed, no cookie is stored, no compressed response is accepted,
and a response ends at `max_reply_bytes`.

Bytes after the end of a response are not guarded against: h11 would read them as the next response on that
connection. Only the server that answers both can send them.
"""

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2

MAX_CONNECTIONS = 1024
MAX_REPLY_BYTES = 16 * 1024 * 1024
KEPT_ALIVE = 128
KEEPALIVE_SECONDS = 4.0
"""Idle connections are closed after this time: uvicorn, and so vLLM, closes its side after 5 seconds."""


class Pool:
    """Opens its clients on first use; `aclose()` closes them.

    With a `transport` factory the environment's proxies are not used: a proxy would dial in place of the transport
    that checks the address.
    """

    def __init__(
        self,
        transport: "Callable[[float], httpx2.AsyncBaseTransport] | None" = None,
        *,
        max_connections: int = MAX_CONNECTIONS,
        max_reply_bytes: int = MAX_REPLY_BYTES,
        tells_addresses: bool = True,
    ) -> None:
        """`transport` gets the seconds to keep idle connections. `tells_addresses`: errors may name base URLs."""
        self._transport = transport
        self._max_connections = max_connections
        self._max_reply_bytes = max_reply_bytes
        self._tells_addresses = tells_addresses
        self._clients: dict[float, httpx2.AsyncClient] = {}
        self._opening = Lock()  # clients are created in threads, because importing their SDKs is slow

    @property
    def client(self) -> "httpx2.AsyncClient":
        """Return the shared client, which reuses connections."""
        return self._client(KEEPALIVE_SECONDS)

    @property
    def fresh_client(self) -> "httpx2.AsyncClient":
        """Return the shared client that opens a connection for each request, for probes."""
        return self._client(0.0)

    def shown(self, base_url: str) -> str:
        """Return a base URL as errors may show it: "" if they must not."""
        return base_url if self._tells_addresses else ""

    async def aclose(self) -> None:
        """Close every connection."""
        while self._clients:
            _, client = self._clients.popitem()
            await client.aclose()

    def _client(self, keepalive: float) -> "httpx2.AsyncClient":
        from providers.transport import open_client

        with self._opening:
            if keepalive not in self._clients:
                self._clients[keepalive] = open_client(
                    transport=self._transport(keepalive) if self._transport else None,
                    max_connections=self._max_connections,
                    kept_alive=KEPT_ALIVE if keepalive else 0,
                    keepalive=keepalive,
                    max_reply_bytes=self._max_reply_bytes,
                )
            return self._clients[keepalive]
