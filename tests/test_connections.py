"""Connections that are kept: one that the server has ended meanwhile is not written to."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import httpx2
import pytest
import uvloop

from bridge.network import AddressPolicy, guarded_httpx, guarded_httpx2, plain_httpx, plain_httpx2

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
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(OK)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def end(self, how: str) -> None:
        """End the newest connection, and wait until it has ended."""
        writer = self.connections[-1]
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
