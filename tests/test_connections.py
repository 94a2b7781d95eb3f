"""A pooled connection that the server has closed meanwhile is not used for a request."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
import uvloop

from bridge.network import AddressPolicy
from bridge.network.transport import GuardedTransport
from providers.pool import KEEPALIVE_SECONDS, Pool

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset


class KeepAliveServer:
    """Keeps its connections open until `end` is called."""

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
async def running() -> AsyncIterator[KeepAliveServer]:
    server = KeepAliveServer()
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        server.port = listening.sockets[0].getsockname()[1]
        yield server
        for writer in server.connections:
            writer.close()


@pytest.mark.parametrize("how", ["kept", "closed", "reset"])
@pytest.mark.parametrize("guarded", [False, True])
def test_a_closed_connection_is_not_reused(guarded: bool, how: str) -> None:
    def transport(keepalive: float) -> httpx2.AsyncBaseTransport:
        return GuardedTransport(AddressPolicy("any_but_metadata"), keepalive=keepalive)

    async def count_connections() -> int:
        pool = Pool(transport if guarded else None)
        async with running() as server:
            for _ in range(5):
                assert (await pool.client.get(f"http://127.0.0.1:{server.port}")).text == "ok"
                if how != "kept":
                    await server.end(how)
            await pool.aclose()
            return len(server.connections)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(count_connections()) == (1 if how == "kept" else 5)
    assert KEEPALIVE_SECONDS < 5  # uvicorn, and so vLLM, closes idle connections after 5 seconds
