"""Heads, bodies and frames that come slowly or in excess, and answers that nobody takes: no connection for ever."""

import json
import resource
import socket as sockets
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from time import monotonic
from typing import Any

import pytest

from bridge.process import raise_descriptors
from bridge.receiving import HEAD_BYTES, MOST_FRAGMENTS
from tests.api import streams
from tests.api.streams import HANG_GUARD, SAMPLE
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import Service

RATE = 1000
POST = b"POST /perspectives/alt_text/caption HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = json.dumps({"image": {"path": SAMPLE}}).encode()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(GRAPHCAP_HEAD_TIMEOUT="0.8", GRAPHCAP_MIN_SEND_RATE=str(RATE)) as running:
        yield running
        assert "Traceback" not in running.log


def connect(service: Service) -> sockets.socket:
    host, _, port = service.url.removeprefix("http://").partition(":")
    return sockets.create_connection((host, int(port)), HANG_GUARD)


def answer(connection: sockets.socket) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Everything until the service hangs up: status, headers, problem."""
    with closing(connection), connection.makefile("rb") as file:
        whole = file.read()
    head, _, body = whole.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, json.loads(body)


def line(service: Service, identity: str) -> str:
    """The one line of a request in the log, once it is there."""
    end = monotonic() + HANG_GUARD
    while not (told := [one for one in service.log.splitlines() if f'request_id="{identity}"' in one]):
        assert monotonic() < end, "no line tells of it"
    assert len(told) == 1
    return told[0]


@pytest.mark.parametrize("piece", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_a_head_that_does_not_end(service: Service, piece: bytes) -> None:
    connection = connect(service)
    connection.sendall(piece)
    status, headers, problem = answer(connection)
    assert (status, problem["code"], problem["retryable"]) == (408, "timeout", True)
    assert headers["connection"] == "close"
    assert headers["x-request-id"] == problem["instance"]
    assert "head took longer than 0.8 seconds" in problem["detail"]
    assert "total;dur=" in headers["server-timing"]
    told = line(service, problem["instance"])
    assert "status=408" in told
    assert 'code="timeout"' in told


def test_a_head_that_trickles_is_no_better(service: Service) -> None:
    """A byte now and then restarts no clock."""
    connection, stop = connect(service), threading.Event()

    def trickle() -> None:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        while not stop.wait(0.02):
            try:
                connection.sendall(b"x")
            except OSError:
                return

    sending = threading.Thread(target=trickle)
    sending.start()
    try:
        assert b" 408 " in connection.recv(10_000)
    finally:
        stop.set()
        sending.join(HANG_GUARD)
        connection.close()


def test_a_connection_that_asks_nothing_is_closed(service: Service) -> None:
    with connect(service) as connection:
        assert connection.recv(1) == b""


def test_the_next_head_on_a_connection_has_its_own_time(service: Service) -> None:
    with connect(service) as connection:
        for _ in range(3):
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            reply = b""
            while not reply.endswith(b"}"):
                more = connection.recv(10_000)
                assert more, reply
                reply += more
            assert b" 200 " in reply
        connection.sendall(b"GET /livez HTTP/1.1\r\n")
        assert b" 408 " in connection.recv(10_000)
        assert connection.recv(1) == b""


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * HEAD_BYTES,
        b"GET /" + b"x" * HEAD_BYTES,
        b"GET /" + b"x" * (HEAD_BYTES // 2) + b" HTTP/1.1\r\nX: " + b"x" * (HEAD_BYTES // 2) + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * (HEAD_BYTES // 4),
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * HEAD_BYTES + b"\r\n\r\n",
    ],
    ids=["one field", "the address", "both together", "many fields", "whole"],
)
def test_a_head_that_is_too_large(service: Service, head: bytes) -> None:
    connection = connect(service)
    connection.sendall(head)
    status, _, problem = answer(connection)
    assert (status, problem["code"], problem["retryable"]) == (431, "invalid_request", False)


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00\x01\x00\x01", b"EHLO x\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
def test_what_is_not_http(service: Service, junk: bytes) -> None:
    connection = connect(service)
    connection.sendall(junk)
    status, _, problem = answer(connection)
    assert (status, problem["code"]) == (400, "invalid_request")


@pytest.mark.slow
@pytest.mark.parametrize("path", [b"/perspectives/alt_text/caption", b"/nothing/here"])
def test_a_body_that_comes_slower_than_the_pace(service: Service, path: bytes) -> None:
    connection = connect(service)
    connection.sendall(POST.replace(b"/perspectives/alt_text/caption", path) + b"Content-Length: 100000\r\n\r\n{")
    status, _, problem = answer(connection)
    if path == b"/nothing/here":
        assert status == 404
        return
    assert (status, problem["code"], problem["retryable"]) == (408, "timeout", True)
    assert f"more slowly than {RATE} bytes a second" in problem["detail"]


@pytest.mark.slow
def test_a_body_that_keeps_the_pace_may_take_its_time(service: Service) -> None:
    """Three looks of five seconds, a little over the pace."""
    padded = BODY + b" " * (16 * RATE)
    with connect(service) as connection:
        connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(padded))
        pause = threading.Event()
        for at in range(0, len(padded), RATE):
            connection.sendall(padded[at : at + RATE])
            pause.wait(0.8)  # the pace itself
        assert b" 200 " in connection.recv(10_000)


@pytest.mark.slow
def test_a_frame_that_does_not_end(service: Service) -> None:
    upgrade = (
        b"GET /perspectives/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    half_a_frame = b"\x81\xfe" + (1000).to_bytes(2, "big") + bytes(4) + b"{"
    first_of_many = b"\x01\x81" + bytes(4) + b"{"
    for piece in (half_a_frame, first_of_many):
        with connect(service) as connection:
            connection.sendall(upgrade)
            assert b" 101 " in connection.recv(10_000)
            connection.sendall(piece)
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""


@pytest.mark.slow
def test_an_answer_that_nobody_takes() -> None:
    """The list of perspectives again and again, never read."""
    with Service(GRAPHCAP_HEAD_TIMEOUT="60") as service, connect(service) as connection:
        connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        connection.settimeout(60)
        asking = b"GET /perspectives/list HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with pytest.raises(ConnectionError):  # noqa: PT012 (reset while it sends)
            while True:
                connection.sendall(asking)


def test_who_is_refused_before_his_body_is_read_hears_why(service: Service) -> None:
    """The body is larger than any buffer on the way, and it is sent to its end all the same."""
    size = 40 * 1024 * 1024
    with connect(service) as connection:
        connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % size)
        for _ in range(size // 65536):
            connection.sendall(bytes(65536))
        assert b" 413 " in connection.recv(10_000)


def test_too_few_descriptors_are_told_at_start() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert raise_descriptors(min(64, hard)) is None
    told = raise_descriptors(hard + 1)
    assert told is not None
    assert f"may open {hard} files" in told
    assert "GRAPHCAP_MAX_IN_FLIGHT" in told


CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def test_what_follows_a_chunked_body_is_no_head() -> None:
    """A key in a trailer opens nothing."""
    with Service(GRAPHCAP_API_KEYS="our-key-in-a-trailer") as service, connect(service) as connection:
        body = b"%x\r\n%b\r\n0\r\nX-API-Key: our-key-in-a-trailer\r\n\r\n" % (len(BODY), BODY)
        connection.sendall(CHUNKED + body)
        assert b" 401 " in connection.recv(10_000)


@pytest.mark.parametrize(
    "wrapping", [b"0\r\nX: " + b"x" * 2 * HEAD_BYTES, b"1;x=" + b"x" * 2 * HEAD_BYTES], ids=["trailer", "extension"]
)
def test_a_body_that_is_nearly_all_wrapping(service: Service, wrapping: bytes) -> None:
    connection = connect(service)
    connection.sendall(CHUNKED + wrapping)
    status, _, problem = answer(connection)
    assert (status, problem["code"]) == (400, "invalid_request")


def test_a_body_in_the_smallest_chunks_is_taken(service: Service) -> None:
    with connect(service) as connection:
        padded = BODY + b" " * 50_000
        connection.sendall(CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in padded) + b"0\r\n\r\n")
        assert b" 200 " in connection.recv(10_000)


def test_a_message_in_countless_pieces(service: Service) -> None:
    upgrade = (
        b"GET /perspectives/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    with connect(service) as connection:
        connection.sendall(upgrade)
        assert b" 101 " in connection.recv(10_000)
        with suppress(OSError):
            connection.sendall(b"\x01\x81" + bytes(4) + b"{" + (b"\x00\x80" + bytes(4)) * 2 * MOST_FRAGMENTS)
            assert connection.recv(1) == b""


# Several requests on one connection, and other protocols.

LIVE = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
HANDSHAKE = (
    b"GET /perspectives/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


def posted(server: OpenAIServer) -> bytes:
    body = json.dumps(streams.caption(server)).encode()
    head = b"POST /perspectives/caption HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


BEHIND = {
    "request": LIVE,
    "body": POST + b"Content-Length: 300000\r\n\r\n" + bytes(200_000),
    "junk": b"GARBAGE\r\n\r\n",
    "upgrade": HANDSHAKE + b"\r\n",
}


@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND)
def test_who_leaves_stops_his_call_whatever_he_sent_behind_it(
    service: Service, vllm_server: OpenAIServer, behind: bytes
) -> None:
    vllm_server.default = b.Hold()
    with connect(service) as connection:
        connection.sendall(posted(vllm_server))
        vllm_server.wait_for_calls(1, HANG_GUARD)
        connection.sendall(behind)
        if behind.startswith((b"GARBAGE", HANDSHAKE)):
            assert connection.recv(1) == b""  # nothing is told in the place of the first answer
    vllm_server.wait_for_hang_ups(1, HANG_GUARD)


@pytest.mark.parametrize(
    ("more", "status"),
    [
        (b"A: b\r\n" * 150, 431),
        (b"A: " + b"a" * 9000 + b"\r\n", 431),
        (b"Content-Length: 3\r\n", 400),
        (b"Transfer-Encoding: chunked\r\n", 400),
    ],
    ids=["many fields", "a long field", "a length", "chunks"],
)
def test_a_handshake_that_no_socket_answers_is_refused(service: Service, more: bytes, status: int) -> None:
    with connect(service) as connection:
        connection.sendall(HANDSHAKE + more + b"\r\n")
        assert answer(connection)[0] == status
    assert "Traceback" not in service.log


@pytest.mark.parametrize(
    "wrong",
    [
        HANDSHAKE.replace(b"Version: 13", b"Version: 8"),
        HANDSHAKE.replace(b"AAAAAAAAAAAAAAAAAAAAAA==", b"short"),
        HANDSHAKE.replace(b"Sec-WebSocket-Key", b"X-Key"),
        HANDSHAKE.replace(b"GET", b"POST", 1),
        HANDSHAKE + b"Origin: http://localhost\r\nOrigin: http://localhost\r\n",
        HANDSHAKE + b"Sec-WebSocket-Protocol: \r\n",
    ],
    ids=["version", "key", "no key", "method", "origins", "protocol"],
)
def test_what_is_no_handshake_is_told_so_like_any_request(service: Service, wrong: bytes) -> None:
    with connect(service) as connection:
        connection.sendall(wrong + b"\r\n")
        head, _, told = connection.recv(10_000).partition(b"\r\n\r\n")
    assert b" 400 " in head.splitlines()[0]
    assert {b"x-request-id", b"server-timing"} <= {one.partition(b":")[0].lower() for one in head.splitlines()}
    assert json.loads(told)["code"] == "invalid_request"


def test_who_would_rather_speak_http2_is_answered_in_http1(service: Service) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    with connect(service) as connection:
        connection.sendall(POST + upgrade + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
        assert b" 200 " in connection.recv(10_000)


def test_a_frame_that_is_no_text_ends_the_socket_and_leaves_no_trace(service: Service) -> None:
    with connect(service) as connection:
        connection.sendall(HANDSHAKE + b"\r\n")
        assert b" 101 " in connection.recv(10_000)
        connection.sendall(b"\x81\x81" + bytes(4) + b"\xff")
        assert connection.recv(10)[:4] == b"\x88\x02\x03\xef"  # 1007
    assert "Traceback" not in service.log


def test_tokens_that_nobody_can_have_used_are_not_counted(service: Service, vllm_server: OpenAIServer) -> None:
    told = {"prompt_tokens": 10**400, "completion_tokens": 1, "total_tokens": 2}
    choice = {"index": 0, "message": {"role": "assistant", "content": '{"caption": "ok"}'}, "finish_reason": "stop"}
    vllm_server.reply(b.Raw(json.dumps({"id": "x", "model": "m", "choices": [choice], "usage": told}).encode()))
    made = streams.post(service, "/caption", streams.caption(vllm_server))
    assert made.status_code == 200
    assert made.json()["usage"]["input_tokens"] is None
    assert "Traceback" not in service.log
