"""Response headers (request id, duration), and propagation of the caller's trace context."""

import json
from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests.api import streams
from tests.api.sockets import socket
from tests.api.streams import SAMPLE
from tests.contract.kinds import KIND_BY_NAME
from tests.guard import GUARD
from tests.servers import RecordingServer
from tests.service import Service

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STATE = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"
PAGE = {"Origin": "http://localhost:5173"}
FOREIGN = {"Origin": "https://elsewhere.example"}
CAPTION = "/api/v1/perspectives/caption"
PREFLIGHT = {**PAGE, "Access-Control-Request-Method": "POST"}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(
        GRAPHCAP_MAX_BODY_BYTES="1000", GRAPHCAP_IMAGE_URLS="listed", GRAPHCAP_IMAGE_URL_ALLOW="127.0.0.1"
    ) as s:
        yield s


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/health", {}, 200),
        ("GET", "/metrics", {}, 200),
        ("PUT", CAPTION, {}, 405),
        ("POST", CAPTION, FOREIGN, 403),
        ("GET", "/health", {"Host": "rebound.example"}, 403),
        ("OPTIONS", CAPTION, PREFLIGHT, 200),
        ("POST", "/v1/chat/completions", {"Content-Length": "1001"}, 413),
    ],
)
def test_every_response(service: Service, method: str, path: str, headers: dict[str, str], status: int) -> None:
    content = b"x" * 1001 if "Content-Length" in headers else b""
    sent = {"X-Request-ID": "mine-1", **headers}
    url = service.url + path
    response = httpx.request(method, url, headers=sent, content=content, timeout=GUARD, trust_env=False)
    assert response.status_code == status
    assert response.headers["x-request-id"] == "mine-1"
    assert "total;dur=" in response.headers["server-timing"]
    if sent.get("Origin") == PAGE["Origin"] and method != "OPTIONS":
        assert "x-request-id" in response.headers["access-control-expose-headers"].lower()


def test_accepted_and_rejected_websockets(service: Service) -> None:
    with socket(service, additional_headers={"X-Request-ID": "mine-3"}) as client:
        assert client.connection.response is not None
        accepted = client.connection.response.headers
    assert accepted["x-request-id"] == "mine-3"
    assert "total;dur=" in accepted["server-timing"]
    refusals = (("/nothing", {}, 404, "not_found"), ("/api/v1/perspectives/stream", FOREIGN, 403, "origin_refused"))
    for path, headers, status, code in refusals:
        with pytest.raises(InvalidStatus) as refused, socket(service, path, additional_headers=headers):
            pass
        response = refused.value.response
        assert (response.status_code, json.loads(response.body or b"")["code"]) == (status, code)
        assert len(refused.value.response.headers["x-request-id"]) == 32
    service.wait_for_log('code="origin_refused"')


def test_stages_in_server_timing(service: Service) -> None:
    body = {"perspective": "alt_text", "image": {"path": SAMPLE}}
    timing = streams.post(service, "/caption", body).headers["server-timing"]
    stages = {stage: float(ms) for stage, ms in (part.split(";dur=") for part in timing.split(", "))}
    assert list(stages) == ["image", "prepare", "model", "render", "total"]
    assert stages["total"] >= sum(list(stages.values())[:-1]) - 0.5
    analyzed = {"perspectives": ["alt_text"], "image": {"path": SAMPLE}}
    assert "perspectives;dur=" in streams.post(service, "/analyze", analyzed).headers["server-timing"]
    failed = streams.post(service, "/caption", {**body, "image": {"path": "datasets/none.jpg"}})
    assert failed.headers["server-timing"].startswith("image;dur=")


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow) for kind in ("ollama", "gemini", "anthropic")] + ["vllm"]
)
def test_the_trace_context_reaches_every_kind_of_provider_unchanged(service: Service, kind: str) -> None:
    with KIND_BY_NAME[kind].server() as server:
        body = streams.caption(server, KIND_BY_NAME[kind], image={"path": SAMPLE})
        body["perspective"] = "alt_text"
        for headers in (
            {"traceparent": PARENT, "tracestate": STATE},
            {"traceparent": f"{PARENT}-more", "tracestate": STATE},
            {},
        ):
            assert streams.post(service, "/caption", body, headers=headers).status_code == 200
        sent = [{name.lower(): value for name, value in call.headers.items()} for call in server.calls]
    assert [headers.get("traceparent") for headers in sent] == [PARENT, None, None]
    assert [headers.get("tracestate") for headers in sent] == [STATE, None, None]


def test_image_servers_get_no_trace_context(service: Service, recording_server: RecordingServer) -> None:
    body = {"perspective": "alt_text", "image": {"url": f"{recording_server.url}/a.jpg"}}
    streams.post(service, "/caption", body, headers={"traceparent": PARENT, "tracestate": STATE})
    assert recording_server.requests
    assert not recording_server.received(PARENT[3:35])
    assert not recording_server.received("congo")
