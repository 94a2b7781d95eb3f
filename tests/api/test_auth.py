"""Authentication with API keys, and allowed origins without them."""

import socket as sockets
from typing import Any

import httpx
import pytest

from bridge.server import settings_warnings
from bridge.settings import load
from bridge.version import __version__
from tests.api import streams
from tests.api.conftest import API_KEYS, NAMED_KEY
from tests.api.sockets import rejection, socket
from tests.api.streams import API, SAMPLE
from tests.guard import GUARD
from tests.service import WORKSPACE, Service

KEY, OTHER = API_KEYS
BODY = {"perspective": "alt_text", "image": {"path": SAMPLE}}
FOREIGN = "http://evil.test"
PAGE = "http://localhost:5173"


def post(service: Service, headers: dict[str, str], path: str = "/caption") -> httpx.Response:
    return streams.post(service, path, BODY, headers=headers)


VALID = [
    {"Authorization": f"Bearer {KEY}"},
    {"Authorization": f"bearer  {OTHER}"},
    {"X-API-Key": KEY, "Origin": FOREIGN},
    {"X-API-Key": KEY, "Accept": "text/event-stream"},
]
INVALID = [
    {},
    {"Authorization": "Bearer wrong"},
    {"Authorization": f"Basic {KEY}"},
    {"X-API-Key": KEY[:-1]},
    {"X-Provider-Key": KEY},
    {"Accept": "text/event-stream"},
]


def test_valid_keys(keyed: Service) -> None:
    assert [headers for headers in VALID if post(keyed, headers).status_code != 200] == []


def test_invalid_keys(keyed: Service) -> None:
    for headers in INVALID:
        response = post(keyed, {**headers, "Origin": PAGE})
        assert (response.status_code, response.json()["code"]) == (401, "unauthorized"), headers
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.headers["access-control-allow-origin"] == PAGE
        assert response.headers["x-request-id"] == response.json()["instance"]
    for name in ("api_key", "key", "token", "authorization", "x-api-key"):
        assert post(keyed, {}, f"/caption?{name}={KEY}").status_code == 401


def test_callers_are_named_in_the_log_and_the_metrics(keyed: Service) -> None:
    headers = {"Authorization": f"Bearer {NAMED_KEY}"}
    assert post(keyed, headers).headers["ratelimit-remaining"] == "999"
    with socket(keyed) as client:
        client.send("auth", api_key=NAMED_KEY)
        client.send("caption", "named", **BODY)
        client.all_events("named", "alt_text")
    assert int(post(keyed, headers).headers["ratelimit-remaining"]) == 997
    assert post(keyed, {"X-API-Key": OTHER}).status_code == 200
    keyed.wait_for_log('"key": "react"', 3)
    keyed.wait_for_log('"key": "key-2"')
    metrics = keyed.get("/metrics", **headers).text
    assert 'bridge_key_requests_total{key="react"} 3.0' in metrics


def test_info_describes_the_service_without_its_keys(keyed: Service) -> None:
    response = keyed.get("/info", Authorization=f"Bearer {KEY}")
    info = response.json()
    assert info["version"] == __version__
    assert all(len(row["digest"]) > 16 and row["module"] and row["version"] for row in info["perspectives"])
    assert {row["name"] for row in info["modules"]} >= {"core", "publishing"}
    assert "vllm" in info["providers"]
    assert info["limits"].items() >= {"queue": 256, "in_flight": 1024, "timeout_seconds": 120.0}.items()
    assert info["settings"].items() >= {"workers": 1, "api_keys": True, "tracing": False}.items()
    for secret in (*API_KEYS, NAMED_KEY, str(WORKSPACE)):
        assert secret not in response.text


PROTECTED = ["/perspectives/list", "/info", "/providers/list", "/v1/models", "/x", "/metrics"]
PROTECTED += ["/healthy", "/health/../info", "/x/health", "/livez/x", "/bridge/info", "/docs/x/y", "/openapi.json/x"]
PROTECTED += ["/page", "/page/x/y"]
OPEN = ["/health", "/api/v1/health", "/livez", "/readyz", "/bridge/health", "/bridge/livez"]
OPEN += ["/", "/page/app.js", "/docs", "/docs/docs.js", "/openapi.json", "/bridge/docs", "/bridge/openapi.json"]


def test_only_probes_documentation_and_preflights_need_no_key(keyed: Service) -> None:
    assert {path: keyed.get(path).status_code for path in PROTECTED} == dict.fromkeys(PROTECTED, 401)
    assert {path: keyed.get(path).status_code for path in OPEN} == dict.fromkeys(OPEN, 200)
    access = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    preflight = keyed.request("OPTIONS", f"{API}/caption", headers={"Origin": PAGE, **access})
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, PAGE)


@pytest.mark.parametrize(("origin", "status"), [(PAGE, 200), ("https://other.example", 400)])
def test_a_preflight_of_a_public_page_to_a_private_network(keyed: Service, origin: str, status: int) -> None:
    """Chromium 117 to 141 asks whether a public page may call a private address."""
    access = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Private-Network": "true"}
    preflight = keyed.request("OPTIONS", f"{API}/caption", headers={"Origin": origin, **access})
    assert preflight.status_code == status
    if status == 200:
        assert preflight.headers["access-control-allow-private-network"] == "true"


def test_a_websocket_sends_its_key_in_a_header_or_its_first_message(keyed: Service, service: Service) -> None:
    with socket(keyed, additional_headers={"Authorization": f"Bearer {KEY}"}) as client:
        client.send("caption", "a1", **BODY)
        client.all_events("a1", "alt_text")
    for running, key in ((keyed, OTHER), (service, "anything")):
        with socket(running) as client:
            client.send("auth", api_key=key)
            client.send("caption", "a1", **BODY)
            client.all_events("a1", "alt_text")


FIRST_MESSAGES: list[tuple[str, dict[str, Any]]] = [
    ("", {"kind": "auth", "api_key": "wrong"}),
    ("", {"kind": "auth", "api_key": [KEY]}),
    ("", {"kind": "auth"}),
    ("", {"kind": "caption", "id": "a1", "api_key": KEY, **BODY}),
    ("", {"kind": "auth", "api_key": KEY, "more": "x" * 5000}),
    (f"?api_key={KEY}", {"kind": "caption", "id": "a1", **BODY}),
]


def test_a_websocket_without_a_key_is_closed(keyed: Service) -> None:
    for query, message in FIRST_MESSAGES:
        with socket(keyed, f"{API}/stream{query}") as client:
            client.send(**message)
            assert client.problem()["code"] == "unauthorized"
            assert client.close_code() == 1008


@pytest.mark.slow
def test_a_websocket_that_sends_no_key_is_closed_after_ten_seconds(keyed: Service) -> None:
    with socket(keyed) as client:
        assert client.problem()["code"] == "unauthorized"
        assert client.close_code() == 1008


ALLOWED = [PAGE, "https://localhost", "http://127.0.0.1:3000", "http://[::1]:8080"]
REJECTED = [FOREIGN, "https://localhost.evil.test", "http://localhost.", "null", "http://[", "", "x", "file://"]


def test_loopback_origins_are_accepted(service: Service) -> None:
    for origin in (*ALLOWED, service.url):
        response = post(service, {"Origin": origin})
        assert (response.status_code, response.headers["access-control-allow-origin"]) == (200, origin)
    for origin in (PAGE, service.url):
        with socket(service, origin=origin) as client:
            client.send("caption", "a1", **BODY)
            client.all_events("a1", "alt_text")


def test_other_origins_are_rejected(service: Service) -> None:
    for origin in REJECTED:
        response = post(service, {"Origin": origin})
        assert (response.status_code, response.json()["code"]) == (403, "origin_refused"), origin
    assert rejection(service, origin=FOREIGN).status_code == 403


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"])
def test_a_cross_origin_form_is_rejected_before_its_body(service: Service, kind: str) -> None:
    headers = f"Host: 127.0.0.1\r\nOrigin: {FOREIGN}\r\nContent-Type: {kind}\r\nContent-Length: 1000000\r\n\r\n"
    with sockets.create_connection(("127.0.0.1", service.port), GUARD) as connection:
        connection.sendall(f"POST {API}/caption HTTP/1.1\r\n{headers}".encode())
        assert b" 403 " in connection.makefile("rb").readline()


@pytest.mark.slow
def test_configured_origins_replace_the_loopback_default() -> None:
    """The setting may end in a slash and contain capitals. Browsers send neither."""
    origin = "https://captions.example"
    with Service(GRAPHCAP_CORS_ORIGINS="https://Captions.example/") as service:
        accepted = post(service, {"Origin": origin})
        assert (accepted.status_code, accepted.headers["access-control-allow-origin"]) == (200, origin)
        assert post(service, {"Origin": PAGE}).status_code == 403
        assert post(service, {}).status_code == 200


PUBLIC = "has no API keys: any caller can use it"
WARNINGS: list[tuple[dict[str, Any], str, bool]] = [
    ({"host": "0.0.0.0"}, PUBLIC, True),
    ({"host": "0.0.0.0", "named_api_keys": f"react={NAMED_KEY}"}, PUBLIC, False),
    ({"host": "127.0.0.1"}, PUBLIC, False),
    ({"allowed_hosts": "*"}, "GRAPHCAP_ALLOWED_HOSTS is *", True),
    ({"cors_origins": "*"}, "GRAPHCAP_CORS_ORIGINS is *", True),
]


@pytest.mark.parametrize(("settings", "sentence", "warned"), WARNINGS)
def test_settings_that_admit_any_caller_cause_a_warning_at_start(
    settings: dict[str, Any], sentence: str, warned: bool
) -> None:
    assert any(sentence in warning for warning in settings_warnings(load(**settings))) is warned
