"""Who may call: keys where keys are set, and pages of admitted origins where none are."""

import socket as sockets
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.api.sockets import socket
from tests.api.streams import API, HANG_GUARD, SAMPLE
from tests.service import Service

KEY, OTHER = "our-first-key-12345", "our-second-key-6789"
BODY = {"perspective": "alt_text", "image": {"path": SAMPLE}}
FOREIGN = "http://evil.test"


@pytest.fixture(scope="module")
def keyed() -> Iterator[Service]:
    with Service("--root-path", "/bridge", GRAPHCAP_API_KEYS=f"{KEY},{OTHER}") as running:
        yield running
    assert KEY not in running.log
    assert "Traceback" not in running.log


@pytest.fixture(scope="module")
def keyless() -> Iterator[Service]:
    with Service() as running:
        yield running
    assert "Traceback" not in running.log


def post(service: Service, headers: dict[str, str], path: str = "/caption") -> httpx.Response:
    return httpx.post(service.url + API + path, json=BODY, headers=headers, timeout=HANG_GUARD, trust_env=False)


def get(service: Service, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.get(service.url + path, headers=headers, timeout=HANG_GUARD, trust_env=False)


# Keys.


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer  {OTHER}"},
        {"X-API-Key": KEY},
        {"X-API-Key": KEY, "Origin": FOREIGN},
        {"X-API-Key": KEY, "Accept": "text/event-stream"},
    ],
)
def test_one_of_our_keys_opens(keyed: Service, headers: dict[str, str]) -> None:
    assert post(keyed, headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": KEY},
        {"Authorization": "Bearer"},
        {"X-API-Key": KEY[:-1]},
        {"X-API-Key": f"{KEY},{OTHER}"},
        {"X-Provider-Key": KEY},
        {"Accept": "text/event-stream"},
    ],
)
def test_nothing_else_does(keyed: Service, headers: dict[str, str]) -> None:
    answer = post(keyed, headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "Bearer" in answer.json()["detail"]
    assert answer.headers["x-request-id"] == answer.json()["instance"]


def test_a_key_in_the_address_is_none(keyed: Service) -> None:
    for name in ("api_key", "key", "token", "authorization", "x-api-key"):
        assert post(keyed, {}, f"/caption?{name}={KEY}").status_code == 401


@pytest.mark.parametrize(
    "path", ["/perspectives/list", "/info", "/providers/list", "/openapi.json", "/v1/models", "/x"]
)
def test_reading_wants_a_key_as_well(keyed: Service, path: str) -> None:
    assert get(keyed, path).status_code == 401


@pytest.mark.parametrize("path", ["/health", "/api/v1/health", "/livez", "/readyz", "/bridge/health", "/bridge/livez"])
def test_probes_are_open(keyed: Service, path: str) -> None:
    assert get(keyed, path).status_code == 200


@pytest.mark.parametrize("path", ["/healthy", "/health/../info", "/x/health", "/livez/x", "/bridge/info"])
def test_nothing_beside_them_is(keyed: Service, path: str) -> None:
    assert get(keyed, path).status_code == 401


def test_a_preflight_shows_no_key(keyed: Service) -> None:
    headers = {
        "Origin": "http://localhost:5173",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    answer = httpx.options(keyed.url + API + "/caption", headers=headers, trust_env=False)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "http://localhost:5173"


def test_a_page_can_read_that_it_needs_a_key(keyed: Service) -> None:
    answer = post(keyed, {"Origin": "http://localhost:5173"})
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == "http://localhost:5173"


def test_a_socket_shows_its_key_in_the_first_frame(keyed: Service) -> None:
    with socket(keyed) as one:
        one.send("auth", api_key=OTHER)
        one.send("caption", "a1", **BODY)
        one.story("a1", "alt_text")


def test_a_socket_shows_its_key_in_a_header(keyed: Service) -> None:
    with socket(keyed, additional_headers={"Authorization": f"Bearer {KEY}"}) as one:
        one.send("caption", "a1", **BODY)
        one.story("a1", "alt_text")


@pytest.mark.parametrize(
    ("path", "frame"),
    [
        ("", {"kind": "auth", "api_key": "wrong"}),
        ("", {"kind": "auth", "api_key": [KEY]}),
        ("", {"kind": "auth"}),
        ("", {"kind": "caption", "id": "a1", **BODY}),
        ("", {"kind": "caption", "id": "a1", "api_key": KEY, **BODY}),
        ("", {"kind": "cancel", "id": "a1"}),
        (f"?api_key={KEY}", {"kind": "caption", "id": "a1", **BODY}),
    ],
)
def test_a_first_frame_without_a_key_ends_the_socket(keyed: Service, path: str, frame: dict[str, Any]) -> None:
    with socket(keyed, f"{API}/stream{path}") as one:
        one.send(**frame)
        assert one.problem()["code"] == "unauthorized"
        with pytest.raises(ConnectionClosed) as closed:
            one.next()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_a_key_where_none_is_wanted_does_no_harm(keyless: Service) -> None:
    with socket(keyless) as one:
        one.send("auth", api_key="anything")
        one.send("caption", "a1", **BODY)
        one.story("a1", "alt_text")


# Origins and hosts, where no key is wanted.

ADMITTED = ["http://localhost:5173", "https://localhost", "http://127.0.0.1:3000", "http://[::1]:8080"]
REFUSED = [FOREIGN, "https://localhost.evil.test", "http://localhost.", "null", "http://[", "", "x", "file://"]


@pytest.mark.parametrize("origin", ADMITTED)
def test_pages_of_this_machine_may_call(keyless: Service, origin: str) -> None:
    answer = post(keyless, {"Origin": origin})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == origin
    with socket(keyless, origin=origin) as one:
        one.send("caption", "a1", **BODY)
        one.story("a1", "alt_text")


def test_its_own_pages_may_call(keyless: Service) -> None:
    assert post(keyless, {"Origin": keyless.url}).status_code == 200
    with socket(keyless, origin=keyless.url) as one:
        one.send("caption", "a1", **BODY)
        one.story("a1", "alt_text")


@pytest.mark.parametrize("origin", REFUSED)
def test_pages_from_elsewhere_may_not(keyless: Service, origin: str) -> None:
    answer = post(keyless, {"Origin": origin})
    assert (answer.status_code, answer.json()["code"]) == (403, "origin_refused")
    with pytest.raises(InvalidStatus) as refused, socket(keyless, origin=origin):
        pass
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"])
def test_a_form_from_elsewhere_is_refused_before_its_body_is_read(keyless: Service, kind: str) -> None:
    head = (
        f"POST {API}/caption HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: {FOREIGN}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: 1000000\r\n\r\n"
    )
    assert b" 403 " in first_line(keyless, head)


def test_listed_origins_may_call_and_no_others() -> None:
    with Service(GRAPHCAP_CORS_ORIGINS="https://captions.example") as service:
        assert post(service, {"Origin": "https://captions.example"}).status_code == 200
        assert post(service, {"Origin": "http://localhost:5173"}).status_code == 403
        assert post(service, {}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.test", "evil.test:80", "169.254.169.254", "localhost.evil.test", "[", "[::2]", "a:b:c"]
)
def test_a_name_that_was_rebound_to_this_machine(keyless: Service, host: str) -> None:
    for method in ("GET", "POST"):
        head = f"{method} /perspectives/list HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        assert b" 403 " in first_line(keyless, head)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.1.2.3:99", "[::1]:5", "app.localhost"])
def test_every_name_of_this_machine_is_taken(keyless: Service, host: str) -> None:
    head = f"GET /perspectives/list HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    assert b" 200 " in first_line(keyless, head)


def first_line(service: Service, head: str) -> bytes:
    """What a request gets whose head alone is sent."""
    host, _, port = service.url.removeprefix("http://").partition(":")
    with sockets.create_connection((host, int(port)), HANG_GUARD) as connection:
        connection.sendall(head.encode())
        return connection.makefile("rb").readline()
