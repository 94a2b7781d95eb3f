"""An httpx2 transport that connects only to addresses that a policy allows.

A name is resolved once, each of its addresses is checked, and a checked address is used. Proxies from the environment
are not used. httpx2's transport accepts no network backend, so httpcore2's public connection pool is used.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from threading import Thread
from time import monotonic
from typing import Any

import anyio
import httpcore2
import httpx2

from bridge.errors import AddressRefused
from bridge.network.policy import AddressPolicy

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
_MAX_IDLE = 128
_MAX_ADDRESSES = 64  # of a name; a DNS answer over TCP can contain four thousand
_MAX_ADDRESSES_TRIED = 8
_NO_LIMIT_SECONDS = 3600.0
_ERRORS = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.UnsupportedProtocol,
)


class Resolver:
    """The system's resolver in separate threads, because names that hang would fill the event loop's few threads."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(64)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a name in the resolver's order. Raises OSError."""
        await self._slots.acquire()
        loop = asyncio.get_running_loop()
        result: Future[Sequence[str]] = Future()
        result.set_running_or_notify_cancel()

        def work() -> None:
            try:
                entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                result.set_result(list(dict.fromkeys(str(entry[4][0]) for entry in entries)))
            except OSError as error:
                result.set_exception(error)
            except ValueError:  # UnicodeError for an empty or overlong label
                result.set_exception(OSError("not a host name"))
            finally:
                with suppress(RuntimeError):  # the event loop is closed
                    loop.call_soon_threadsafe(self._slots.release)

        try:  # a daemon thread, because a lookup that hangs must not delay the end of the process
            Thread(target=work, daemon=True, name="name lookup").start()
        except RuntimeError as error:
            self._slots.release()
            raise OSError("no thread for the name lookup") from error
        return await asyncio.wrap_future(result)


class GuardedBackend(httpcore2.AnyIOBackend):
    """Connects only to allowed addresses. TLS verifies the host name as usual."""

    def __init__(self, policy: AddressPolicy, look_up: Resolve) -> None:
        self._policy = policy
        self._look_up = look_up

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Resolve the name once and try its addresses in turn."""
        if not 0 < port < 65536:
            raise httpcore2.ConnectError("invalid port")
        end = monotonic() + (_NO_LIMIT_SECONDS if timeout is None else timeout)
        try:
            with anyio.fail_after(timeout):
                addresses = await self._allowed_addresses(host, port)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout("name lookup") from error
        except OSError as error:
            raise httpcore2.ConnectError("name lookup") from error
        for left in range(len(addresses), 0, -1):
            share = max(0.0, end - monotonic()) / left
            try:
                return await super().connect_tcp(addresses[-left], port, share, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _allowed_addresses(self, host: str, port: int) -> Sequence[str]:
        """Check all addresses of a name, and return them (at least one). Raises AddressRefused and OSError."""
        self._policy.check_name(host, port)
        try:
            addresses: Sequence[str] = (str(ip_address(host)),)
        except ValueError:
            addresses = await self._look_up(host, port)
        if not 0 < len(addresses) <= _MAX_ADDRESSES:
            raise OSError("no address, or too many")
        for address in addresses:
            self._policy.check(host, address, port)
        return addresses[:_MAX_ADDRESSES_TRIED]


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends requests to allowed addresses. For others, raises httpx2.ConnectError from AddressRefused."""

    def __init__(
        self, policy: AddressPolicy, max_connections: int = 100, keepalive: float = 4.0, look_up: Resolve | None = None
    ) -> None:
        """`keepalive`: seconds to keep an idle connection (0: a new one for each request). `look_up`: for tests."""
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=httpx2.create_ssl_context(),
            max_connections=max_connections,
            max_keepalive_connections=min(max_connections, _MAX_IDLE) if keepalive else 0,
            keepalive_expiry=keepalive,
            network_backend=GuardedBackend(policy, look_up or Resolver()),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request. The response's body is read while it is iterated."""
        url = request.url
        target = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        assert isinstance(request.stream, httpx2.AsyncByteStream)
        headers, extensions = request.headers.raw, request.extensions
        sent = httpcore2.Request(request.method, target, headers=headers, content=request.stream, extensions=extensions)
        with _translated_errors():
            response = await self._pool.handle_async_request(sent)
        return httpx2.Response(
            response.status, headers=response.headers, stream=_Body(response), extensions=response.extensions
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx2.AsyncByteStream):
    def __init__(self, response: httpcore2.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _translated_errors():
            async for chunk in self._response.aiter_stream():
                yield chunk

    async def aclose(self) -> None:
        """Return the connection to the pool, or close it if the body was not read to its end."""
        await self._response.aclose()


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except AddressRefused as error:
        raise httpx2.ConnectError(str(error)) from error
    except ssl.SSLError as error:  # malformed TLS data: httpcore2 2.16 does not translate this exception
        raise httpx2.ReadError("TLS") from error
    except _ERRORS as error:
        # The exceptions of httpx2 and httpcore2 have the same names.
        raise getattr(httpx2, type(error).__name__)(str(error)) from error
