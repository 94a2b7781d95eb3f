"""Slow clients: calls, slots and connections are released after a timeout."""

import asyncio
import json
import socket as sockets
from types import SimpleNamespace

import pytest
from starlette.types import Message, Receive, Send
from starlette.websockets import WebSocket

from bridge.api.routes.websocket import Connection
from bridge.captioning.services import Services
from tests.api import streams
from tests.api.sockets import frame, state
from tests.api.streams import SAMPLE
from tests.guard import GUARD
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import Service


def connection(services: Services, receive: Receive, send: Send) -> Connection:
    """Return the handler of a WebSocket whose client is simulated by `receive` and `send`."""
    app = SimpleNamespace(state=SimpleNamespace(services=services))
    scope = {"type": "websocket", "path": "/", "headers": [], "app": app, "state": state()}
    return Connection(WebSocket(scope, receive, send))


async def test_a_websocket_that_is_not_read_is_closed(
    services: Services, vllm_server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client does not read the result. The call of its other request is cancelled."""
    monkeypatch.setattr("bridge.api.connection.STALL_SECONDS", 0.1)
    vllm_server.reply(b.Hang("first"))
    vllm_server.default = b.Answer(streams.GOOD)
    body = streams.caption(vllm_server)
    frames = [frame("caption", "a1", **body), frame("caption", "a2", **body)]
    opening = [{"type": "websocket.connect"}]

    async def receive() -> Message:
        if opening:
            return opening.pop()
        if len(frames) == 1:
            await asyncio.to_thread(vllm_server.wait_for_calls, 1)
        return {"type": "websocket.receive", "text": frames.pop(0)} if frames else await asyncio.Future()

    async def send(message: Message) -> None:
        if '"type":"result"' in message.get("text", ""):
            await asyncio.Future()

    async with asyncio.timeout(GUARD):
        await connection(services, receive, send).serve()
        await asyncio.to_thread(vllm_server.wait_for_hang_ups, 1)


async def test_an_exception_of_one_request_does_not_cancel_the_others(
    services: Services, vllm_server: OpenAIServer
) -> None:
    """The result of `a1` cannot be sent. `a1` ends with an error, and `a2` with its result."""
    vllm_server.default = b.Hold(b.Answer(streams.GOOD))
    incoming: asyncio.Queue[Message] = asyncio.Queue()
    incoming.put_nowait({"type": "websocket.connect"})
    for name in ("a1", "a2"):
        text = frame("caption", name, **streams.caption(vllm_server))
        incoming.put_nowait({"type": "websocket.receive", "text": text})
    ends: asyncio.Queue[streams.Event] = asyncio.Queue()

    async def send(message: Message) -> None:
        event = json.loads(message.get("text", "{}"))
        if (event.get("id"), event.get("type")) == ("a1", "result"):
            raise ValueError("cannot be sent")
        if event.get("type") in ("result", "error"):
            ends.put_nowait(event)

    async with asyncio.timeout(GUARD):
        serving = asyncio.create_task(connection(services, incoming.get, send).serve())
        await asyncio.to_thread(vllm_server.wait_for_calls, 2)
        vllm_server.release()
        by_id = {event["id"]: event for event in [await ends.get(), await ends.get()]}
        incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await serving
    assert by_id["a1"]["problem"]["code"] == "internal_error"
    assert by_id["a2"]["type"] == "result"


@pytest.mark.slow
def test_a_body_that_does_not_arrive_is_a_timeout() -> None:
    with Service(GRAPHCAP_TIMEOUT="0.3", GRAPHCAP_MAX_IN_FLIGHT="1") as service:
        for content_type, piece in (("application/json", "{"), ("multipart/form-data; boundary=x", "--x\r\n")):
            with sockets.create_connection(("127.0.0.1", service.port), GUARD) as connection:
                headers = f"POST /perspectives/caption HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
                connection.sendall(f"{headers}Content-Length: 1000\r\nConnection: close\r\n\r\n{piece}".encode())
                response = connection.makefile("rb").read()
            assert response.split()[1] in (b"408", b"504")
            assert json.loads(response.partition(b"\r\n\r\n")[2])["code"] == "timeout"
        body = {"perspective": "alt_text", "image": {"path": SAMPLE}, "timeout": 30}
        assert streams.post(service, "/caption", body).status_code in (200, 504)
