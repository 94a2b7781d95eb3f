"""Concurrent requests on one WebSocket: ids, cancellation and the end of the connection."""

import json
from collections.abc import Callable, Iterator

import pytest
from websockets.frames import Frame, Opcode

from tests.api import streams
from tests.api.sockets import Socket, frame, socket
from tests.api.streams import GOOD, SAMPLE, analysis, inline, of_type
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import Service
from tests.telemetry.figures import line, scrape

LIMIT = 64 * 1024
ALT = {"perspective": "alt_text", "image": {"path": SAMPLE}}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    settings = {"GRAPHCAP_MAX_BODY_BYTES": str(LIMIT), "GRAPHCAP_MAX_SOCKET_REQUESTS": "6", "GRAPHCAP_LOG": "json"}
    with Service(**settings) as running:
        yield running
    assert running.code == 0
    assert "Traceback" not in running.log
    assert streams.KEY not in running.log
    assert '"level": "error"' not in running.log


@pytest.fixture
def client(service: Service) -> Iterator[Socket]:
    """Open a WebSocket, and check that it still works after the test."""
    with socket(service) as opened:
        yield opened
        opened.send("caption", "the last", **ALT)
        assert opened.all_events("the last", "alt_text")[-2]["type"] == "result"


def test_a_caption(client: Socket, vllm_server: OpenAIServer) -> None:
    vllm_server.reply(b.Answer(GOOD))
    client.send("caption", "a1", **streams.caption(vllm_server))
    events = client.all_events("a1", "mine")
    stages = [event["stage"] for event in of_type(events, "progress") if event["stage"] != "import"]
    assert stages == ["image", "model", "validate"]
    assert events[-2]["caption"]["result"] == GOOD
    assert events[0]["request_id"] == events[-2]["caption"]["request_id"]
    assert events[-1]["usage"] == {"input_tokens": 120, "output_tokens": 30, "cached_tokens": 64}


def test_concurrent_requests(client: Socket, vllm_server: OpenAIServer) -> None:
    vllm_server.default = b.Hold(b.Answer(GOOD))
    names = [f"a{number}" for number in range(6)]
    for name in names:
        client.send("caption", name, **streams.caption(vllm_server))
    vllm_server.wait_for_calls(6)
    client.send("caption", "a6", **ALT)
    problem = client.problem("a6")
    assert (problem["code"], problem["status"], problem["retryable"]) == ("overloaded", 503, True)
    vllm_server.release()
    events_by_request = [client.all_events(name, "mine") for name in names]
    assert len({events[0]["request_id"] for events in events_by_request}) == 6


def test_a_running_id_is_rejected(client: Socket, vllm_server: OpenAIServer) -> None:
    vllm_server.default = b.Hold(b.Answer(GOOD))
    client.send("caption", "a1", **streams.caption(vllm_server))
    vllm_server.wait_for_calls(1)
    client.send("caption", "a1", **ALT)
    rejected = client.until("a1", "error")
    assert (rejected["perspective"], rejected["problem"]["code"]) == (None, "invalid_request")
    client.received["a1"].remove(rejected)
    vllm_server.release()
    assert client.all_events("a1", "mine")[-2]["caption"]["result"] == GOOD
    assert len(vllm_server.calls) == 1


def test_cancel_of_an_analysis_ends_the_unfinished_perspectives(client: Socket, vllm_server: OpenAIServer) -> None:
    vllm_server.reply(b.Hang("first"), b.Hang("connect"))
    names = ("p1", "p2", "p3")
    client.send("analyze", "a1", **analysis(vllm_server, *map(inline, names), synthesize="alt_text"))
    finished = client.until("a1", "result")["perspective"]
    client.send("cancel", "a1")
    events = client.all_events("a1", *names, "alt_text")
    assert [event["perspective"] for event in of_type(events, "result")] == [finished]
    problems = [event["problem"] for event in of_type(events, "error")]
    assert [(problem["code"], problem["retryable"]) for problem in problems] == [("cancelled", True)] * 3
    vllm_server.wait_for_hang_ups(2)
    assert len(vllm_server.calls) == 3


def test_cancel_at_any_moment_and_repeatedly(client: Socket, vllm_server: OpenAIServer) -> None:
    for number in range(24):
        name = f"a{number}"
        client.send("analyze", name, **analysis(vllm_server, inline("p1"), inline("p2")))
        for _ in range(number % 8):
            client.next()
        for _ in range(3):
            client.send("cancel", name)
        client.all_events(name, "p1", "p2")
        while "error" not in {event["type"] for event in client.received.get(name, [])}:
            client.send("cancel", name)  # a finished request cannot be cancelled
            client.next()
        client.problem(name)
        client.received.pop(name, None)
    client.send("cancel", "marker")
    client.problem("marker")


def close(client: Socket) -> None:
    client.connection.close()


def drop(client: Socket) -> None:
    client.connection.socket.shutdown(2)


def break_the_protocol(client: Socket) -> None:
    client.connection.socket.sendall(b"\x83\x80\0\0\0\0")  # a reserved opcode
    assert client.close_code() == 1002


def send_too_large_a_frame(client: Socket) -> None:
    client.raw(b" " * (2 * LIMIT + 1))
    assert client.close_code() == 1009


@pytest.mark.parametrize("leave", [close, drop, break_the_protocol, send_too_large_a_frame])
def test_closing_the_websocket_cancels_all_requests(
    service: Service, vllm_server: OpenAIServer, leave: Callable[[Socket], None]
) -> None:
    """The log and the metrics count each request as one whose client disconnected."""
    vllm_server.default = b.Hang("first")
    labels = {"route": "/perspectives/stream", "method": "WS", "status": "499"}
    before = scrape(service).of("bridge_request_duration_seconds_count", **labels)
    with socket(service) as client:
        client.send("caption", "a1", **streams.caption(vllm_server))
        client.send("analyze", "a2", **analysis(vllm_server, inline("p1"), inline("p2")))
        vllm_server.wait_for_calls(3)
        ids = [client.until(name, "started")["request_id"] for name in ("a1", "a2")]
        leave(client)
    vllm_server.wait_for_hang_ups(3)
    assert len(vllm_server.calls) == 3
    lines = [line(service, identity) for identity in ids]
    assert [(fields["status"], fields["code"]) for fields in lines] == [(499, "cancelled")] * 2
    assert scrape(service).of("bridge_request_duration_seconds_count", **labels) - before == 2


def test_an_event_after_the_websocket_closed_is_dropped(vllm_server: OpenAIServer) -> None:
    """The service closes the WebSocket for text that is not UTF-8, while it handles the frame before."""
    vllm_server.default = b.Hang("first")
    frames = [Frame(Opcode.TEXT, content).serialize(mask=True) for content in (b"{", b"\xff")]
    with Service(GRAPHCAP_LOG="json") as service, socket(service) as client:
        client.send("caption", "a1", **streams.caption(vllm_server))
        vllm_server.wait_for_calls(1)
        identity = client.until("a1", "started")["request_id"]
        client.connection.socket.sendall(b"".join(frames))
        vllm_server.wait_for_hang_ups(1)
        fields = line(service, identity)
        assert (fields["status"], fields["code"]) == (499, "cancelled")
        assert service.stop() == 0
    assert "bug in" not in service.log


BAD: dict[str, tuple[str | bytes, str | None, str, str]] = {
    "no JSON": ("{", None, "invalid_json", "not valid JSON"),
    "no UTF-8": (b"\xff\xfe", None, "invalid_json", "not valid JSON"),
    "nested": ("[" * 60_000, None, "invalid_json", "not valid JSON"),
    "no type": ('{"id": "x"}', "x", "invalid_request", "'type'"),
    "unknown type": ('{"type": "shout", "id": "x"}', "x", "invalid_request", "'type'"),
    "a type that is a list": ('{"type": [], "id": "x"}', "x", "invalid_request", "'type'"),
    "no id": ('{"type": "caption"}', None, "invalid_request", "'id'"),
    "a long id": (json.dumps({"type": "cancel", "id": "x" * 201}), None, "invalid_request", "'id'"),
    "cancel of an unknown id": ('{"type": "cancel", "id": "x"}', "x", "invalid_request", "No request with the id"),
    "oversized": (json.dumps({"type": "cancel", "id": "x" * LIMIT}), None, "body_too_large", "larger than"),
    "unknown field": (frame("caption", "x", **ALT, colour=1), "x", "invalid_request", "colour"),
}


def test_invalid_frames_are_reported_and_the_websocket_stays_open(client: Socket) -> None:
    for name, (sent, key, code, part) in BAD.items():
        client.raw(sent)
        problem = client.problem(key)
        assert (problem["code"], problem["detail"]) == (code, problem["message"]), name
        assert part in problem["detail"], name
        assert problem["detail"].endswith((".", "?")), name
