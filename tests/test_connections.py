"""Connections that are kept: one that the server has ended meanwhile is not written to."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpcore2
import httpx
import httpx2
import pytest
import uvloop
from bridge.network.dial import _Stream

from bridge.network import AddressPolicy, guarded_httpx, guarded_httpx2, plain_httpx, plain_httpx2
from providers.pool import Pool
from tests.servers.tls import self_signed

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
ANY = AddressPolicy("any_but_metadata")
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing is a reset
TRANSPORTS: dict[str, tuple[Any, Callable[[], Any]]] = {
    "httpx, plain": (httpx, plain_httpx),
    "httpx2, plain": (httpx2, plain_httpx2),
    "httpx, guarded": (httpx, lambda: guarded_httpx(ANY)),
    "httpx2, guarded": (httpx2, lambda: guarded_httpx2(ANY)),
}


class Keeping:
    """A server that keeps its connections until it is told to end them."""

    def __init__(self) -> None:
        self.connections: list[asyncio.StreamWriter] = []
        self.forgotten: list[asyncio.StreamWriter] = []
        self.surplus = b""
        self.together: asyncio.Barrier | None = None
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                if writer in self.forgotten:
                    await self.end("reset", writer)
                    return
                if self.together:
                    await self.together.wait()
                writer.write(OK + self.surplus)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def end(self, how: str, writer: asyncio.StreamWriter | None = None) -> None:
        """End the newest connection, and wait until it has ended."""
        writer = writer or self.connections[-1]
        if how == "reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
        else:
            writer.close()
        try:
            await writer.wait_closed()
        except ConnectionError:
            return


@asynccontextmanager
async def keeping() -> AsyncIterator[Keeping]:
    one = Keeping()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    async with server:
        one.port = server.sockets[0].getsockname()[1]
        yield one
        for writer in one.connections:
            writer.close()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("how", ["kept", "closed", "reset"])
@pytest.mark.parametrize("name", TRANSPORTS)
def test_a_connection_that_has_ended_is_not_used(name: str, how: str, loop: Callable[[], Any]) -> None:
    library, transport = TRANSPORTS[name]

    async def ask() -> int:
        async with keeping() as server, library.AsyncClient(transport=transport(), trust_env=False) as client:
            url = f"http://127.0.0.1:{server.port}"
            for _ in range(5):
                assert (await client.get(url)).text == "ok"
                if how != "kept":
                    await server.end(how)
            return len(server.connections)

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(ask()) == (1 if how == "kept" else 5)


@pytest.mark.parametrize("generation", ["httpx_client", "httpx2_client"])
@pytest.mark.parametrize("ours", [True, False], ids=["ours", "httpx's own"])
async def test_what_came_beyond_a_reply_is_nobodys_answer(generation: str, ours: bool) -> None:
    pool = Pool(httpx_transport_factory=plain_httpx, httpx2_transport_factory=plain_httpx2) if ours else Pool()
    async with keeping() as server:
        server.surplus = OK.replace(b"ok", b"no")
        client = getattr(pool, generation)
        found = [(await client.get(f"http://127.0.0.1:{server.port}")).text for _ in range(3)]
        await pool.aclose()
    assert found == ["ok"] * 3
    assert len(server.connections) == 3


class Records:
    """A TLS server that sends a reply and what is too much in two records, in one piece."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.connections = 0
        self.sent: tuple[bytes, ...] = (OK, OK.replace(b"ok", b"no"))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.context.wrap_bio(received, sent, server_side=True)
        step: Callable[[], Any] = tls.do_handshake
        while True:
            try:
                step()
            except ssl.SSLWantReadError:
                writer.write(sent.read())
                if not (more := await reader.read(65536)):
                    break
                received.write(more)
                continue
            except ssl.SSLError:
                break
            if step != tls.do_handshake:
                for one in self.sent:
                    tls.write(one)
                writer.write(sent.read())
            step = lambda: tls.read(65536)  # noqa: E731
        writer.close()


@pytest.mark.parametrize(("surplus", "connections"), [(True, 3), (False, 1)])
@pytest.mark.parametrize("generation", ["httpx_client", "httpx2_client"])
@pytest.mark.parametrize("ours", [True, False], ids=["ours", "httpx's own"])
async def test_what_came_in_a_tls_record_of_its_own_is_nobodys_answer(
    generation: str,
    ours: bool,
    surplus: bool,
    connections: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Records(self_signed(tmp_path))
    server.sent = server.sent if surplus else server.sent[:1]
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    pool = Pool(httpx_transport_factory=plain_httpx, httpx2_transport_factory=plain_httpx2) if ours else Pool()
    client = getattr(pool, generation)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        url = f"https://localhost:{listening.sockets[0].getsockname()[1]}"
        found = [(await client.get(url)).text for _ in range(3)]
        await pool.aclose()
    assert found == ["ok"] * 3
    assert server.connections == connections


class Full:
    """A stream that gives as much as is asked for."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return bytes(max_bytes)


async def test_what_follows_a_piece_that_is_full_is_nobodys_answer() -> None:
    """anyio splits what it received, and no look at the socket shows the rest."""
    stream = _Stream(httpcore2, Full())
    await stream.read(8)
    assert stream.get_extra_info("is_readable")


@pytest.mark.parametrize("name", TRANSPORTS)
async def test_a_server_that_forgot_its_connections_breaks_one_call(name: str) -> None:
    library, transport = TRANSPORTS[name]
    async with keeping() as server, library.AsyncClient(transport=transport(), trust_env=False) as client:
        url = f"http://127.0.0.1:{server.port}"
        server.together = asyncio.Barrier(6)
        await asyncio.gather(*(client.get(url) for _ in range(6)))
        server.together, server.forgotten = None, list(server.connections)
        with pytest.raises((library.ReadError, library.RemoteProtocolError)):
            await client.get(url)
        assert (await client.get(url)).text == "ok"
    assert len(server.connections) == 7
