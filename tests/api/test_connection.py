"""Who sends slowly or does not read: no call, no slot and no socket waits for him for ever."""

import asyncio
import json
import socket as sockets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from bridge.api import body
from bridge.api.leaving import Reader
from bridge.api.sse import Pinged, Write
from bridge.api.stream import Conversation
from bridge.captioning.services import open_services
from bridge.deadline import Deadline, DeadlineExceeded
from bridge.settings import Settings
from tests.api import streams
from tests.api.sockets import frame, state
from tests.api.streams import HANG_GUARD, SAMPLE
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import WORKSPACE, Service

SHORT = 0.1
HOUR = 3600.0


@contextmanager
def served(app: ASGIApp) -> Iterator[tuple[str, int]]:
    """The app on a port of its own, as the service runs it."""

    async def stated(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": state()}, receive, send)

    config = uvicorn.Config(
        stated, log_config=None, ws="websockets-sansio", lifespan="off", timeout_graceful_shutdown=1
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


# Readers.


class Endless(Pinged):
    """Tells until it is stopped."""

    def __init__(self) -> None:
        super().__init__(Deadline(HOUR), ping=HOUR, stall=SHORT)
        self.stopped = threading.Event()

    async def tell(self, write: Write) -> None:
        try:
            while True:
                await write(b": x\n\n" * 10_000)
                await asyncio.sleep(0)
        finally:
            self.stopped.set()


def test_a_stream_that_nobody_reads_is_stopped() -> None:
    stream = Endless()
    with served(stream) as address, sockets.create_connection(address) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert stream.stopped.wait(HANG_GUARD)


def test_a_socket_that_nobody_reads_is_stopped(vllm_server: OpenAIServer) -> None:
    """Ten large captions fill every buffer, and the call that is still waited for ends."""
    vllm_server.reply(b.Hang("first"))
    vllm_server.default = b.Answer({"caption": "x" * 900_000})
    ended = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with open_services(Settings(workspace=WORKSPACE)) as services:
            socket = WebSocket(scope, receive, send)
            await Conversation(socket, services, stall=SHORT).serve()
        ended.set()

    with served(app) as address, sockets.create_connection(address) as connection:
        connection.sendall(UPGRADE)
        assert b" 101 " in connection.recv(1000)
        body = streams.caption(vllm_server)
        first, *others = (masked(frame("caption", f"a{number}", **body)) for number in range(11))
        connection.sendall(first)
        vllm_server.wait_for_calls(1, HANG_GUARD)
        connection.sendall(b"".join(others))  # at once: the socket may be ended while their answers come
        vllm_server.wait_for_hang_ups(1, HANG_GUARD)
        assert ended.wait(HANG_GUARD)


UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def masked(text: str) -> bytes:
    """A text frame as a client writes it, under a mask of zeros."""
    return b"\x81\xfe" + len(text).to_bytes(2, "big") + bytes(4) + text.encode()


async def never(message: Message) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("stall", "linger", "until"), [(SHORT, HOUR, None), (SHORT, HOUR, Deadline(HOUR)), (HOUR, SHORT, Deadline(0))]
)
async def test_a_reader_is_given_up(stall: float, linger: float, until: Deadline | None) -> None:
    reader = Reader(never, stall, linger)
    async with asyncio.timeout(HANG_GUARD):
        await reader.take({"type": "x"}, until)
        assert reader.gone.is_set()
        await reader.take({"type": "x"})


async def test_a_reader_who_takes_everything_is_kept() -> None:
    taken = []

    async def send(message: Message) -> None:
        await asyncio.sleep(0)
        taken.append(message["n"])

    reader = Reader(send, SHORT)
    await asyncio.gather(*(reader.take({"type": "x", "n": n}, Deadline(HOUR)) for n in range(100)))
    assert taken == list(range(100))
    assert not reader.gone.is_set()


# Senders.


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    with Service(GRAPHCAP_TIMEOUT="0.3", GRAPHCAP_MAX_IN_FLIGHT="1") as service:
        host, _, port = service.url.removeprefix("http://").partition(":")
        for kind, piece in (("application/json", "{"), ("multipart/form-data; boundary=x", "--x\r\n")):
            with sockets.create_connection((host, int(port)), HANG_GUARD) as connection:
                head = f"POST /perspectives/caption HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
                connection.sendall(f"{head}Content-Length: 1000\r\nConnection: close\r\n\r\n{piece}".encode())
                answer = connection.makefile("rb").read()
            assert b" 504 " in answer.splitlines()[0]
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "timeout"
        body = {"perspective": "alt_text", "image": {"path": SAMPLE}, "timeout": 30}
        assert streams.post(service, "/caption", body).status_code in (200, 504)


async def test_a_piece_that_does_not_come_is_not_waited_for() -> None:
    pieces = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive() -> Any:
        if not pieces:
            await asyncio.Event().wait()
        return pieces.pop()

    with pytest.raises(DeadlineExceeded, match="body"):
        await body.read(Request({"type": "http", "headers": []}, receive), Settings(timeout=HOUR), chunk_within=SHORT)


# Strangers on a socket.


@pytest.mark.parametrize("sends", [None, "", "{", "[]", "x" * 5000, frame("auth", api_key="k", more="x" * 5000)])
async def test_a_stranger_shows_a_key_soon_or_goes(sends: str | None) -> None:
    sent: list[Message] = []
    frames: list[Message] = [{"type": "websocket.connect"}]
    if sends is not None:
        frames.append({"type": "websocket.receive", "text": sends})

    async def receive() -> Message:
        if not frames:
            await asyncio.Event().wait()
        return frames.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    async with open_services(Settings(workspace=WORKSPACE, api_keys=("k",))) as services:
        scope = {"type": "websocket", "path": "/", "headers": [], "state": state(1)}
        async with asyncio.timeout(HANG_GUARD):
            await Conversation(WebSocket(scope, receive, send), services, admit_within=SHORT).serve()
    assert [one["type"] for one in sent] == ["websocket.accept", "websocket.send", "websocket.close"]
    assert json.loads(sent[1]["text"])["problem"]["code"] == "unauthorized"
    assert sent[2]["code"] == 1008
