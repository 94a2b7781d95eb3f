"""Opening connections for either httpcore: to any address, or to checked ones only."""

import select
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic
from typing import Any

import anyio

from bridge.network.names import Resolve
from bridge.network.policy import AddressPolicy, admitted

HEAD_BYTES = 256 * 1024
_TRIED = 8  # of a name's addresses: a stranger's name must not make us knock on a thousand doors


@dataclass
class _Allowance:
    left: int


_head: ContextVar[_Allowance | None] = ContextVar("head", default=None)


@contextmanager
def bounded_head() -> Iterator[None]:
    """Let the answer that is awaited inside have a head of `HEAD_BYTES` at most.

    h11 bounds one head, but httpcore reads informational answers (1xx) without end.
    """
    token = _head.set(_Allowance(HEAD_BYTES))
    try:
        yield
    finally:
        _head.reset(token)


class Backend:
    """httpcore's AsyncNetworkBackend: opens connections, which are anyio's with streams of ours."""

    def __init__(self, core: Any) -> None:
        self._core = core
        self._inner = core.AnyIOBackend()

    async def connect_tcp(self, host: str, port: int, timeout: float | None = None, **further: Any) -> Any:
        """Connect to a name or an address."""
        opened = await self._inner.connect_tcp(host, port, timeout, **further)
        return _Stream(self._core, opened)

    async def sleep(self, seconds: float) -> None:
        """Wait, between the pool's own connection attempts."""
        await anyio.sleep(seconds)


class Guarded(Backend):
    """The same, to checked addresses only."""

    def __init__(self, core: Any, policy: AddressPolicy, look_up: Resolve) -> None:
        super().__init__(core)
        self._policy, self._look_up = policy, look_up

    async def connect_tcp(self, host: str, port: int, timeout: float | None = None, **further: Any) -> Any:
        """Resolve once and try the addresses in turn; TLS is still spoken to `host`."""
        if not 0 < port < 65536:
            raise self._core.ConnectError("no such port")
        end = monotonic() + (3600.0 if timeout is None else timeout)
        addresses = (await self._addresses(host, port, end))[:_TRIED]
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            share = max(0.0, end - monotonic()) / left
            try:
                return await super().connect_tcp(address, port, share, **further)
            except (self._core.ConnectError, self._core.ConnectTimeout):
                if left == 1:
                    raise
        raise AssertionError  # admitted() never returns nothing

    async def _addresses(self, host: str, port: int, end: float) -> Sequence[str]:
        try:
            with anyio.fail_after(max(0.0, end - monotonic())):
                return await admitted(self._policy, host, port, self._look_up)
        except TimeoutError as error:
            raise self._core.ConnectTimeout("name look-up") from error
        except OSError as error:
            raise self._core.ConnectError("name look-up") from error


class _Stream:
    """httpcore's AsyncNetworkStream: counts the head, and tells every failure as httpcore's own.

    Garbage in the middle of TLS comes out of httpcore as a bare ssl.SSLError (measured with httpcore2 2.16).
    """

    def __init__(self, core: Any, inner: Any) -> None:
        self._core, self._inner = core, inner
        self._poll = select.poll() if hasattr(select, "poll") else None  # Windows has none
        self._socket: Any = None
        self._filled = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what has come, at most `max_bytes`."""
        try:
            data: bytes = await self._inner.read(max_bytes, timeout)
        except ssl.SSLError as error:
            raise self._core.ReadError("TLS") from error
        self._filled = len(data) == max_bytes
        allowance = _head.get()
        if allowance is not None:
            allowance.left -= len(data)
            if allowance.left < 0:
                raise self._core.RemoteProtocolError("the head of the answer is too long")
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write everything."""
        try:
            await self._inner.write(buffer, timeout)
        except ssl.SSLError as error:
            raise self._core.WriteError("TLS") from error

    async def aclose(self) -> None:
        """Close the connection."""
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> "_Stream":
        """Speak TLS from here on."""
        return _Stream(self._core, await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """What httpcore wants to know of the socket."""
        return self._is_readable() if info == "is_readable" else self._inner.get_extra_info(info)

    def _is_readable(self) -> bool:
        """Whether an idle connection has ended: whatever is read now can be nothing else.

        A pool asks each idle connection at each call's begin and end, 48 times a caption at 32 callers; by way of
        anyio's typed attributes that is a tenth of a caption's CPU (measured with httpcore2 2.16, anyio 4.16).
        """
        if self._filled:
            return True  # anyio may hold what came in the same piece: it is nobody's answer
        if self._poll is None:
            return bool(self._inner.get_extra_info("is_readable"))
        socket = self._inner.get_extra_info("socket") if self._socket is None else self._socket
        if socket is None or socket.fileno() < 0:
            return True  # it has been closed, and its descriptor may be another's by now
        if self._socket is None:
            self._socket = socket
            self._poll.register(socket, select.POLLIN)
        return bool(self._poll.poll(0))
