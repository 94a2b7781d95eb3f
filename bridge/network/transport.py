"""Transports for the two httpx generations: plain ones, and those that dial checked addresses only.

With a policy a name is resolved once, every address it has is checked, and a checked one is dialled: a redirect, a
second DNS answer or an IPv4 address dressed as IPv6 changes nothing. No proxy is read from the environment.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from bridge.errors import AddressRefused
from bridge.network.dial import Backend, Guarded, bounded_head
from bridge.network.names import Names, Resolve
from bridge.network.policy import AddressPolicy

if TYPE_CHECKING:
    import httpx
    import httpx2


def guarded_httpx(
    policy: AddressPolicy, max_connections: int = 100, *, look_up: Resolve | None = None
) -> "httpx.AsyncBaseTransport":
    """Build a transport for httpx (ollama). A refused address is a ConnectError from its AddressRefused."""
    import httpcore
    import httpx

    transport: httpx.AsyncBaseTransport = _transport(
        httpcore, httpx, Guarded(httpcore, policy, look_up or Names()), max_connections
    )
    return transport


def guarded_httpx2(
    policy: AddressPolicy, max_connections: int = 100, *, look_up: Resolve | None = None
) -> "httpx2.AsyncBaseTransport":
    """Build the same for httpx2 (openai, google-genai, image fetching)."""
    import httpcore2
    import httpx2

    transport: httpx2.AsyncBaseTransport = _transport(
        httpcore2, httpx2, Guarded(httpcore2, policy, look_up or Names()), max_connections
    )
    return transport


def plain_httpx(max_connections: int = 100) -> "httpx.AsyncBaseTransport":
    """Build a transport for httpx that dials whatever it is told to."""
    import httpcore
    import httpx

    transport: httpx.AsyncBaseTransport = _transport(httpcore, httpx, Backend(httpcore), max_connections)
    return transport


def plain_httpx2(max_connections: int = 100) -> "httpx2.AsyncBaseTransport":
    """Build the same for httpx2."""
    import httpcore2
    import httpx2

    transport: httpx2.AsyncBaseTransport = _transport(httpcore2, httpx2, Backend(httpcore2), max_connections)
    return transport


def _transport(core: Any, http: Any, backend: Backend, max_connections: int) -> Any:
    """Build the one transport for either generation: `core` is httpcore or httpcore2, `http` its httpx."""
    # The base class is only known here; both generations have the same names.
    kind = type("Transport", (_Transport, http.AsyncBaseTransport), {})
    return kind(core, http, backend, max_connections)


_KEPT_ALIVE = 128
_ERRORS = (
    "TimeoutException",
    "ConnectTimeout",
    "ReadTimeout",
    "WriteTimeout",
    "PoolTimeout",
    "NetworkError",
    "ConnectError",
    "ReadError",
    "WriteError",
    "ProxyError",
    "UnsupportedProtocol",
    "ProtocolError",
    "LocalProtocolError",
    "RemoteProtocolError",
)


class _Transport:
    """httpx's AsyncBaseTransport over one httpcore pool, mapping errors as the default transport does."""

    def __init__(self, core: Any, http: Any, backend: Backend, max_connections: int) -> None:
        self._core, self._http = core, http
        self._errors = {getattr(core, name): getattr(http, name) for name in _ERRORS}
        self._body = type("Body", (_Body, http.AsyncByteStream), {})
        self._pool = core.AsyncConnectionPool(
            ssl_context=http.create_ssl_context(),
            max_connections=max_connections,
            max_keepalive_connections=min(max_connections, _KEPT_ALIVE),
            keepalive_expiry=30.0,
            network_backend=backend,
        )

    async def handle_async_request(self, request: Any) -> Any:
        """Send one request; the response's body is read as it is iterated."""
        url = self._core.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        sent = self._core.Request(
            request.method,
            url,
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with self._translated(), bounded_head():
            try:
                got = await self._pool.handle_async_request(sent)
            except (self._core.ReadError, self._core.WriteError, self._core.RemoteProtocolError):
                await self._close_idle(url.origin)
                raise
        body = self._body(got.stream, self._translated)
        return self._http.Response(got.status, headers=got.headers, stream=body, extensions=got.extensions)

    async def _close_idle(self, origin: Any) -> None:
        """Close the connections that wait for a server which broke one: it forgets all of them at once, and a repeat
        would take the next dead one.
        """
        for one in self._pool.connections:
            if one.is_idle() and one.can_handle_request(origin):
                await one.aclose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except AddressRefused as error:
            raise self._http.ConnectError(error.message) from error
        except tuple(self._errors) as error:
            ours = next(self._errors[kind] for kind in type(error).__mro__ if kind in self._errors)
            raise ours(str(error)) from error

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()

    async def __aenter__(self) -> "_Transport":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class _Body:
    """A response's body; errors while it is read are httpx's."""

    def __init__(self, stream: Any, translated: Any) -> None:
        self._stream, self._translated = stream, translated

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self._translated():
            async for part in self._stream:
                yield part

    async def aclose(self) -> None:
        """Give the connection back, or close it when the body was not read to its end."""
        await self._stream.aclose()
