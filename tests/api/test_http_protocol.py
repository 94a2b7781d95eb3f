"""HTTP connections of slow, broken and unusual clients."""

import inspect
import json
import socket as sockets
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from bridge.http_protocol import MAX_HEADER_BYTES, RequestProtocol
from bridge.server import listen, uvicorn_config
from bridge.settings import Settings
from tests.api.streams import SAMPLE
from tests.guard import GUARD
from tests.service import Service

KEY = "our-key-of-the-protocol"
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = (
    b"POST /perspectives/alt_text/caption HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"X-API-Key: %b\r\n" % KEY.encode()
)
BODY = json.dumps({"image": {"path": SAMPLE}}).encode()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(GRAPHCAP_HEAD_TIMEOUT="1", GRAPHCAP_KEEP_ALIVE="1", GRAPHCAP_API_KEYS=KEY) as running:
        yield running
    assert "Traceback" not in running.log


def connect(service: Service) -> sockets.socket:
    return sockets.create_connection(("127.0.0.1", service.port), GUARD)


def exchange(service: Service, data: bytes) -> tuple[int, dict[str, Any]]:
    """Send the bytes and return status and JSON of the response; the service closes the connection."""
    with closing(connect(service)) as connection:
        connection.sendall(data)
        with connection.makefile("rb") as file:
            headers, _, body = file.read().partition(b"\r\n\r\n")
    return int(headers.split()[1]), json.loads(body)


REJECTED: dict[str, tuple[bytes, int, str]] = {
    "incomplete headers": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", 408, "timeout"),
    "one large header": (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEADER_BYTES, 431, "invalid_request"),
    "long path": (b"GET /" + b"x" * MAX_HEADER_BYTES, 431, "invalid_request"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400, "invalid_request"),
    "unknown version": (b"GET / HTTP/9.9\r\n\r\n", 400, "invalid_request"),
    "broken chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "invalid_request"),
}


@pytest.mark.parametrize(("data", "status", "code"), REJECTED.values(), ids=REJECTED)
def test_malformed_and_slow_requests_get_a_problem(service: Service, data: bytes, status: int, code: str) -> None:
    actual, problem = exchange(service, data)
    assert (actual, problem["code"], problem["retryable"]) == (status, code, status == 408)
    service.wait_for_log(f'request_id="{problem["instance"]}"')


def test_an_http2_upgrade_is_ignored(service: Service) -> None:
    """Java's client requests it with every first request, curl with --http2."""
    offer = b"Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
    status, caption = exchange(service, POST + offer + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
    assert (status, caption["perspective"]) == (200, "alt_text")


def test_a_malformed_websocket_handshake_is_disconnected(service: Service) -> None:
    with connect(service) as connection, suppress(ConnectionResetError):
        upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\n" + b"X: x\r\n" * 200
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + upgrade + b"\r\n")
        assert connection.recv(1) == b""


def test_idle_connections_are_closed(service: Service) -> None:
    """Without a request: no response. After a response: the connection closes after the keep-alive time."""
    with connect(service) as connection:
        assert connection.recv(1) == b""
    with connect(service) as connection:
        connection.sendall(LIVEZ + LIVEZ)
        with connection.makefile("rb") as file:
            assert file.read().count(b" 200 OK") == 2


def test_idle_connections_are_kept_longer_than_by_common_proxies() -> None:
    """The test above shows the effect of the setting."""
    assert [uvicorn_config(Settings(**changed)).timeout_keep_alive for changed in ({}, {"keep_alive": 33})] == [75, 33]


def test_a_body_that_continues_after_its_response_is_bounded(service: Service) -> None:
    """A client may finish a large body to read an early response. If it does not, it is disconnected."""
    size = 40 * 1024 * 1024
    with connect(service) as connection:
        connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % size)
        for _ in range(size // 65536):
            connection.sendall(bytes(65536))
        assert b" 413 " in connection.recv(10_000)
    with connect(service) as connection, connection.makefile("rb") as file:
        connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % size)
        assert b" 413 " in file.readline()
        with suppress(OSError):
            connection.sendall(b"{")
            file.read()


def test_connections_of_clients_that_stop_reading_are_reset() -> None:
    """Accepted sockets inherit the option (tcp(7))."""
    with listen("127.0.0.1", 0) as listening:
        assert listening.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_USER_TIMEOUT) == 30_000


def test_uvicorn_has_the_attributes_that_the_protocol_uses() -> None:
    """RequestProtocol overrides these methods and reads these attributes; review it when one of them changes."""
    methods = {
        "connection_made": ["self", "transport"],
        "connection_lost": ["self", "exc"],
        "data_received": ["self", "data"],
        "on_message_begin": ["self"],
        "on_headers_complete": ["self"],
        "handle_websocket_upgrade": ["self"],
        "send_400_response": ["self", "msg"],
    }
    own = {name for name in vars(RequestProtocol) if callable(getattr(RequestProtocol, name)) and name[0] != "_"}
    inherited = {name: list(inspect.signature(getattr(HttpToolsProtocol, name)).parameters) for name in own}
    assert inherited == methods
    sources = {
        HttpToolsProtocol: ("self.cycle", "self.transport", "self.loop", "self.client", "self.ws_protocol_class("),
        RequestResponseCycle: ("self.response_started", "self.response_complete"),
        WebSocketsSansIOProtocol: ("self.handshake_initiated",),
        uvicorn.Server: ("self.servers", "self.server_state", "self.lifespan.state", "def handle_exit(self, sig"),
    }
    for cls, names in sources.items():
        source = inspect.getsource(cls)
        assert [name for name in names if name not in source] == []
