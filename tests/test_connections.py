"""A pooled connection that the server has closed is not reused."""

import asyncio
import socket
import struct
from contextlib import suppress

import httpx2
import pytest
import uvloop

from bridge.network.policy import AddressPolicy
from bridge.network.transport import GuardedTransport
from providers.pool import KEEPALIVE_SECONDS, Pool

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset


async def end(writer: asyncio.StreamWriter, how: str) -> None:
    """End a connection, and wait until it has ended."""
    if how == "reset":
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()
    else:
        writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def count_connections(guarded: bool, how: str) -> int:
    """Send five requests to a server that ends its connection after each. Return how many connections were opened."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(OK)
        writer.close()

    def transport(keepalive: float) -> httpx2.AsyncBaseTransport:
        return GuardedTransport(AddressPolicy("any_but_metadata"), keepalive=keepalive)

    pool = Pool(transport if guarded else None)
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for _ in range(5):
            assert (await pool.client.get(f"http://127.0.0.1:{port}")).text == "ok"
            if how != "kept":
                await end(writers[-1], how)
        await pool.aclose()
    return len(writers)


@pytest.mark.parametrize("how", ["kept", "closed", "reset"])
@pytest.mark.parametrize("guarded", [False, True])
def test_a_closed_connection_is_not_reused(guarded: bool, how: str) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(count_connections(guarded, how)) == (1 if how == "kept" else 5)
    assert KEEPALIVE_SECONDS < 5  # uvicorn, and so vLLM, closes idle connections after 5 seconds
