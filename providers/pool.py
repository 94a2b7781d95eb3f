"""Connections, shared by every client of one bridge: one pool for each of the two httpx generations.

openai and google-genai sit on httpx2, ollama still on httpx. Whatever the SDK on top wants: no redirect is
followed, no cookie is kept, no compressed reply is taken, and a reply ends at `max_reply_bytes`.
"""

import ssl
from collections.abc import AsyncIterator, Callable
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib import import_module
from threading import Lock
from typing import TYPE_CHECKING, Any

from providers.errors import BadReply, WrongPath

if TYPE_CHECKING:
    import httpx
    import httpx2

MAX_CONNECTIONS = 1024
MAX_REPLY_BYTES = 16 * 1024 * 1024
_KEPT_ALIVE = 128
_KEEPALIVE_SECONDS = 30.0


class Pool:
    """Opens each generation's client when it is first asked for; `aclose()` closes what was opened.

    A transport factory is called once, at that moment. With one, the environment's proxies are not used: a
    proxy would dial in place of the transport that guards the address.
    """

    def __init__(
        self,
        *,
        httpx_transport_factory: "Callable[[], httpx.AsyncBaseTransport] | None" = None,
        httpx2_transport_factory: "Callable[[], httpx2.AsyncBaseTransport] | None" = None,
        max_connections: int = MAX_CONNECTIONS,
        max_reply_bytes: int = MAX_REPLY_BYTES,
        tells_addresses: bool = True,
    ) -> None:
        """`tells_addresses`: whether errors may say where a connection failed."""
        self._factories = {"httpx": httpx_transport_factory, "httpx2": httpx2_transport_factory}
        self._max_connections = max_connections
        self._max_reply_bytes = max_reply_bytes
        self._tells_addresses = tells_addresses
        self._clients: dict[str, Any] = {}
        # Clients are made in threads (their SDKs are slow to import), perhaps in two at once.
        self._opening = Lock()

    @property
    def httpx_client(self) -> "httpx.AsyncClient":
        """The shared client of the old generation."""
        client: httpx.AsyncClient = self._client("httpx")
        return client

    @property
    def httpx2_client(self) -> "httpx2.AsyncClient":
        """The shared client of the new generation, to be given to openai and google-genai."""
        client: httpx2.AsyncClient = self._client("httpx2")
        return client

    def httpx_transport(self) -> "httpx.AsyncBaseTransport":
        """A way into `httpx_client` for an SDK that insists on a client of its own (ollama).

        Closing that client leaves the pool open.
        """
        return _shared()(self.httpx_client)

    def told(self, base_url: str) -> str:
        """An address as errors may show it: "" where they may not."""
        return base_url if self._tells_addresses else ""

    async def aclose(self) -> None:
        """Close every connection."""
        while self._clients:
            _, client = self._clients.popitem()
            await client.aclose()

    def _client(self, generation: str) -> Any:
        with self._opening:
            if generation not in self._clients:
                self._clients[generation] = self._open(generation)
            return self._clients[generation]

    def _open(self, generation: str) -> Any:
        httpx: Any = import_module(generation)
        factory = self._factories[generation]
        return httpx.AsyncClient(
            transport=factory() if factory else None,
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=())),
            event_hooks={"request": [_prepare], "response": [_bounding(httpx, self._max_reply_bytes)]},
            limits=httpx.Limits(
                max_connections=self._max_connections,
                max_keepalive_connections=_KEPT_ALIVE,
                keepalive_expiry=_KEEPALIVE_SECONDS,
            ),
        )


@cache
def _shared() -> "Callable[[httpx.AsyncClient], httpx.AsyncBaseTransport]":
    """The class of a transport that sends through a client; made when httpx is first wanted."""
    import httpx

    class Shared(httpx.AsyncBaseTransport):
        def __init__(self, client: httpx.AsyncClient) -> None:
            self._client = client

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return await self._client.send(request, stream=True, follow_redirects=False)

    return Shared


async def _prepare(request: "httpx.Request | httpx2.Request") -> None:
    request.headers["Accept-Encoding"] = "identity"


def _bounding(httpx: Any, limit: int) -> Any:
    """Make the hook that looks at a reply's head and puts a limit on its body, before any of it is read."""
    stream_type: type = httpx.AsyncByteStream
    cut = (httpx.NetworkError, httpx.ProtocolError)

    class Bounded(stream_type):  # type: ignore[misc]
        def __init__(self, inner: Any, network: Any) -> None:
            self._inner, self._network = inner, network

        def __aiter__(self) -> AsyncIterator[bytes]:
            return _bounded(self._inner, limit, cut)

        async def aclose(self) -> None:
            await _drop_surplus(self._inner, self._network)
            await self._inner.aclose()

    async def receive(response: Any) -> None:
        _refuse(response)
        response.stream = Bounded(response.stream, response.extensions.get("network_stream"))

    return receive


async def _drop_surplus(stream: Any, network: Any) -> None:
    """Close a connection on which more came than the reply: the next call would be given it as its own answer.

    httpcore has nothing public to tell it (2.16): its connection's h11 holds what was read beyond the reply, and TLS
    what came with it in another record.
    """
    while (inner := getattr(stream, "_stream", None) or getattr(stream, "_httpcore_stream", None)) is not None:
        stream = inner
    connection = getattr(stream, "_connection", None)
    read = getattr(connection, "_h11_state", None)
    if connection is not None and (read is None or read.trailing_data[0] or _has_unread(network)):
        await connection.aclose()


def _has_unread(network: Any) -> bool:
    """Whether TLS has received more than was read, or its end: no look at the socket shows what was taken from it."""
    tls = network.get_extra_info("ssl_object") if network is not None else None
    if tls is None:
        return False
    try:
        tls.read(1)
    except ssl.SSLWantReadError:
        return False
    except ssl.SSLError:
        return True
    return True


def _refuse(response: "httpx.Response | httpx2.Response") -> None:
    if response.has_redirect_location:
        raise WrongPath(
            "The provider answered with a redirect, which the bridge does not follow. "
            "Check the base URL: http or https, host and path.",
            status=response.status_code,
        )
    # A few compressed kilobytes can unpack to gigabytes, and the limit counts what comes over the wire.
    if response.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
        raise BadReply("The provider sent a compressed reply although none was asked for.")


async def _bounded(stream: Any, limit: int, cut: tuple[type[Exception], ...]) -> AsyncIterator[bytes]:
    received = 0
    try:
        async for chunk in stream:
            received += len(chunk)
            if received > limit:
                raise BadReply(f"The provider's reply is longer than {limit} bytes.")
            yield chunk
    except cut:
        failure = BadReply("The provider's reply broke off before it was whole.")
    else:
        return
    try:
        raise failure
    finally:
        del failure  # as in `Exchange.wait`
