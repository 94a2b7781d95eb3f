"""Clients that send or read slowly: no call, no slot and no connection waits for them without end."""

import json
import socket as sockets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from bridge.api.routes.websocket import Connection
from bridge.captioning.services import open_services
from bridge.settings import Settings
from tests.api import streams
from tests.api.sockets import frame, state
from tests.api.streams import HANG_GUARD, SAMPLE
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import WORKSPACE, Service

SHORT = 0.1


@contextmanager
def served(app: ASGIApp) -> Iterator[tuple[str, int]]:
    """Serve the app on a port of its own."""

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": state()}, receive, send)

    config = uvicorn.Config(
        with_state, log_config=None, ws="websockets-sansio", lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    with sockets.create_server(("127.0.0.1", 0)) as listening:
        running = threading.Thread(target=server.run, args=([listening],))
        running.start()
        try:
            yield listening.getsockname()
        finally:
            server.should_exit = True
            running.join(HANG_GUARD)
            assert not running.is_alive()


# Slow readers.


def test_a_websocket_that_is_not_read_is_closed(vllm_server: OpenAIServer) -> None:
    """Ten large captions fill every buffer, and the call that still runs is cancelled."""
    vllm_server.reply(b.Hang("first"))
    vllm_server.default = b.Answer({"caption": "x" * 900_000})
    ended = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with open_services(Settings(workspace=WORKSPACE)) as services:
            scope = {**scope, "app": SimpleNamespace(state=SimpleNamespace(services=services))}
            await Connection(WebSocket(scope, receive, send), stall=SHORT).serve()
        ended.set()

    with served(app) as address, sockets.create_connection(address) as connection:
        connection.sendall(UPGRADE)
        assert b" 101 " in connection.recv(1000)
        body = streams.caption(vllm_server)
        first, *others = (masked(frame("caption", f"a{number}", **body)) for number in range(11))
        connection.sendall(first)
        vllm_server.wait_for_calls(1, HANG_GUARD)
        connection.sendall(b"".join(others))  # at once: the WebSocket may be closed while they are answered
        vllm_server.wait_for_hang_ups(1, HANG_GUARD)
        assert ended.wait(HANG_GUARD)


UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def masked(text: str) -> bytes:
    """Return a client's text frame with a mask of zeros."""
    return b"\x81\xfe" + len(text).to_bytes(2, "big") + bytes(4) + text.encode()


# Slow senders.


@pytest.mark.slow
def test_a_body_that_does_not_arrive_is_a_timeout() -> None:
    with Service(GRAPHCAP_TIMEOUT="0.3", GRAPHCAP_MAX_IN_FLIGHT="1") as service:
        host, _, port = service.url.removeprefix("http://").partition(":")
        for content_type, piece in (("application/json", "{"), ("multipart/form-data; boundary=x", "--x\r\n")):
            with sockets.create_connection((host, int(port)), HANG_GUARD) as connection:
                headers = f"POST /perspectives/caption HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
                connection.sendall(f"{headers}Content-Length: 1000\r\nConnection: close\r\n\r\n{piece}".encode())
                response = connection.makefile("rb").read()
            assert response.split()[1] in (b"408", b"504")
            assert json.loads(response.partition(b"\r\n\r\n")[2])["code"] == "timeout"
        body = {"perspective": "alt_text", "image": {"path": SAMPLE}, "timeout": 30}
        assert streams.post(service, "/caption", body).status_code in (200, 504)
