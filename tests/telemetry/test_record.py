"""The log lines and metrics of requests, without secrets."""

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from bridge.telemetry.multiprocess import VARIABLE
from tests.api import streams
from tests.api.sockets import socket
from tests.api.streams import KEY, PHOTO, SAMPLE, inline
from tests.guard import GUARD
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import Service
from tests.telemetry.figures import Figures, line, scrape, scrape_until, studio, workspace

SIZE = PHOTO.stat().st_size
PROMPT = "Describe the zebra of nobody."
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
HOSTILE = 'x"} 1\nbridge_evil_total{a="'
ZOO = {"perspective": inline("zoo", PROMPT), "image": {"path": SAMPLE}, "provider": "studio"}
STUDIO = {"provider": "studio"}
MORE = """
[providers.down]
kind = "vllm"
base_url = "http://127.0.0.1:9"
default_model = "gone"
breaker = {{ open_seconds = 600 }}
fallbacks = [{{ provider = "studio", model = "{model}" }}]
"""


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer("vllm", key=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def service(server: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service: `studio` accepts one call at a time, and `down` is down.

    With one worker the shared directory for metrics is ignored.
    """
    toml = studio(server.url, server.models, max_concurrency=1, api_key=f'"{KEY}"')
    toml += MORE.format(model=server.models[0])
    settings = {"GRAPHCAP_LOG": "json", "GRAPHCAP_MAX_QUEUE": "2", VARIABLE: "/nowhere"}
    with Service(workspace=workspace(tmp_path_factory.mktemp("work"), toml), **settings) as running:
        yield running
    # Parts of keys (12 characters), prompts, captions and queries.
    pieces = [KEY[start : start + 12] for start in range(len(KEY) - 11)]
    for word in (*pieces, "zebra", "sentence", "secret-query", "data:image"):
        assert word not in running.log, word


def ask(service: Service, identity: str, path: str = "/caption", **fields: object) -> httpx.Response:
    """Post a request; a field that is None is left out."""
    body = {name: value for name, value in {**ZOO, **fields}.items() if value is not None}
    headers = {"X-Request-ID": identity, "traceparent": PARENT}
    return streams.post(service, f"{path}?secret-query=1", body, headers=headers)


class Growth:
    """How much the metrics of a service grew since this object was created."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._before = scrape(service)
        self._after: Figures | None = None

    def of(self, name: str, **labels: str) -> float:
        self._after = self._after or scrape(self._service)
        return self._after.of(f"bridge_{name}", **labels) - self._before.of(f"bridge_{name}", **labels)


def test_a_caption_with_a_re_ask_and_a_retry(service: Service, server: OpenAIServer) -> None:
    growth = Growth(service)
    server.reply(b.WrongSchema(), b.Status(503, retry_after=0), b.Answer())
    attempts = ask(service, "why-1").json()["attempts"]
    fields = line(service, "why-1")
    stages = fields.pop("stages")
    expected = {
        "request_id": "why-1",
        "method": "POST",
        "path": "/api/v1/perspectives/caption",
        "status": 200,
        "client": "127.0.0.1",
        "trace_id": TRACE,
        "perspective": "zoo",
        "provider": "studio",
        "model": server.models[0],
        "endpoint": attempts[0]["endpoint"],
        "output_mode": "json_schema",
        "calls": 3,
        "reasks": 1,
        "retries": 1,
        "failed_calls": "invalid_answer,unavailable",
        "input_tokens": 240,
        "output_tokens": 60,
        "cached_tokens": 128,
        "image_bytes": SIZE,
        "sent_bytes": 3 * SIZE,
    }
    assert fields.items() >= expected.items()
    assert "code" not in fields
    assert set(stages) - {"import"} == {"image", "prepare", "model", "render"}
    assert fields["ms"] >= stages["model"] > 0
    caption = {"perspective": "inline", "outcome": "ok", "output_mode": "json_schema", **STUDIO}
    assert growth.of("captions_total", **caption) == growth.of("reasks_total") == growth.of("retries_total") == 1
    for outcome in ("ok", "invalid_answer", "unavailable"):
        labels = {"outcome": outcome, "model": server.models[0], **STUDIO}
        assert growth.of("provider_calls_total", **labels) == 1
    assert growth.of("provider_call_duration_seconds_count", **STUDIO) == 3
    for kind, tokens in {"input": 240, "output": 60, "cached": 128}.items():
        assert growth.of("tokens_total", kind=kind, model=server.models[0]) == tokens
    for stage in ("image", "prepare", "model", "render", "total"):
        assert growth.of("stage_duration_seconds_count", stage=stage) == 1
    assert growth.of("image_received_bytes_total", origin="path") == SIZE
    assert growth.of("image_sent_bytes_total", **STUDIO) == 3 * SIZE
    request = {"route": "/perspectives/caption", "method": "POST", "status": "200"}
    assert growth.of("request_duration_seconds_count", **request) == 1


FAILURES: dict[str, tuple[int, dict[str, Any], Any]] = {
    "unknown_perspective": (404, {"perspective": "nobody"}, None),
    "invalid_request": (422, {"zebra": 1}, None),
    "unsupported_image": (415, {"image": {"base64": "AAAA"}}, None),
    "provider_auth": (502, {}, b.Echo("headers", 401)),
    "answer_invalid": (502, {"max_output_retries": 0}, b.WrongSchema()),
    "timeout": (504, {"timeout": 5}, b.Hang()),
}


def test_the_code_of_each_failure(service: Service, server: OpenAIServer) -> None:
    growth = Growth(service)
    for code, (status, options, behaviour) in FAILURES.items():
        server.reply(*filter(None, [behaviour]))
        assert ask(service, code, **options).json()["code"] == code
        fields = line(service, code)
        assert (fields["status"], fields["code"]) == (status, code)
        assert fields.get("calls", 0) == (behaviour is not None)
    unplanned = {"perspective": "unknown", "provider": "none"}
    planned = set(FAILURES) - {"unknown_perspective", "invalid_request"}
    for code in FAILURES:
        labels = {"perspective": "inline", **STUDIO} if code in planned else unplanned
        assert growth.of("problems_total", code=code) == growth.of("captions_total", outcome=code, **labels) == 1, code


async def test_a_client_that_disconnected(service: Service, server: OpenAIServer) -> None:
    server.reply(b.Hang("connect"))
    before = len(server.calls)
    async with httpx.AsyncClient(base_url=service.url, timeout=GUARD, trust_env=False) as client:
        call = asyncio.create_task(client.post("/perspectives/caption", json=ZOO, headers={"X-Request-ID": "left-1"}))
        await asyncio.to_thread(server.wait_for_calls, before + 1)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    fields = await asyncio.to_thread(line, service, "left-1")
    expected = {"status": 499, "code": "cancelled", "calls": 1, "failed_calls": "cancelled"}
    assert fields.items() >= expected.items()


def test_a_client_that_left_a_stream(service: Service, server: OpenAIServer) -> None:
    server.reply(b.Hang("first"))
    growth = Growth(service)
    headers = {"X-Request-ID": "left-2"}
    with streams.streaming(service, "/caption", json=ZOO, headers=headers) as response:
        streams.until(streams.events(response), lambda event: event.get("stage") == "model")
    fields = line(service, "left-2")
    assert (fields["status"], fields["code"]) == (499, "cancelled")
    assert growth.of("problems_total", code="cancelled") == 1


def test_a_websocket_and_each_of_its_requests(service: Service, server: OpenAIServer) -> None:
    growth = Growth(service)
    server.reply(b.Answer(), b.Status(401))
    with socket(service, additional_headers={"X-Request-ID": "socket-1"}) as client:
        ids = {}
        for name in ("a1", "a2"):
            client.send("caption", name, **ZOO)
            ids[name] = client.all_events(name, "zoo")[0]["request_id"]
        client.send("caption", "a3", perspective="nobody", image={"path": SAMPLE})
        client.problem("a3")
        assert scrape(service).of("bridge_websocket_connections") == 1
    assert line(service, "socket-1", "socket").items() >= {"status": 101, "method": "WS", "requests": 2}.items()
    by = {"method": "WS", "path": "/api/v1/perspectives/stream", "perspective": "zoo", "provider": "studio", "calls": 1}
    assert line(service, ids["a1"]).items() >= {**by, "status": 200, "input_tokens": 120}.items()
    assert line(service, ids["a2"]).items() >= {**by, "status": 502, "code": "provider_auth"}.items()
    scrape_until(service, lambda figures: figures.of("bridge_websocket_connections") == 0)
    assert growth.of("websocket_connections_opened_total") == 1
    for status in ("200", "404", "502"):
        labels = {"route": "/perspectives/stream", "method": "WS", "status": status}
        assert growth.of("request_duration_seconds_count", **labels) == 1


async def test_the_queue(service: Service, server: OpenAIServer) -> None:
    server.reply(b.Hold(), b.Hold(), b.Hold())
    before = len(server.calls)
    async with httpx.AsyncClient(base_url=service.url, timeout=GUARD, trust_env=False) as client:

        def post(identity: str) -> "asyncio.Task[httpx.Response]":
            headers = {"X-Request-ID": identity}
            return asyncio.create_task(client.post("/perspectives/caption", json=ZOO, headers=headers))

        calls = [post("queue-1")]
        await asyncio.to_thread(server.wait_for_calls, before + 1)
        calls += [post("queue-2"), post("queue-3")]
        figures = await asyncio.to_thread(scrape_until, service, lambda figures: figures.of("bridge_queue_depth") == 2)
        assert figures.of("bridge_provider_calls_in_flight", provider="studio") == 1
        assert figures.of("bridge_requests_in_flight") == 3
        assert (await post("queue-4")).json()["code"] == "overloaded"
        server.release()
        assert [(await call).status_code for call in calls] == [200, 200, 200]
    lines = [await asyncio.to_thread(line, service, f"queue-{number}") for number in (1, 2, 3, 4)]
    assert ["queue_ms" in fields for fields in lines] == [False, True, True, False]
    assert lines[3]["code"] == "overloaded"
    figures = await asyncio.to_thread(scrape, service)
    for gauge in ("bridge_queue_depth", "bridge_provider_calls_in_flight", "bridge_requests_in_flight"):
        assert figures.of(gauge) == 0


def test_caller_supplied_names_are_not_labels(service: Service, server: OpenAIServer) -> None:
    config = {"kind": "vllm", "name": HOSTILE, "base_url": server.url + "/other", "api_key": "sk-mine-123456789"}
    for number, name in enumerate((HOSTILE, "studio2", "ünïcode")):
        identity = f"hostile-{number}"
        ask(service, identity, perspective=inline(name), provider=name, model=name)
        ask(service, identity, perspective=inline(name), provider=name, model=name, provider_config=config)
        ask(service, identity, perspective=name)
        ask(service, identity, f"/{quote(name, safe='')}/caption", perspective=None)
        httpx.request("PUT", f"{service.url}/{quote(name, safe='')}", timeout=GUARD, trust_env=False)
        httpx.request("BREW", f"{service.url}/perspectives/caption", timeout=GUARD, trust_env=False)
    figures = scrape(service)
    assert not [name for name in figures.families if "evil" in name]
    values = {value for sample in figures.samples for value in sample.labels.values()}
    assert not [value for value in values if any(word in value for word in ("evil", "studio2", "BREW", "sk-"))]
    assert all(value.isascii() for value in values)
    captions = figures.labels("bridge_captions_total")
    assert {labels["perspective"] for labels in captions} == {"inline", "unknown"}
    assert {labels["provider"] for labels in captions} <= {"studio", "vllm", "builtin", "none"}
    models = {labels["model"] for labels in figures.labels("bridge_provider_calls_total")}
    assert models <= {*server.models, "other", "measurements"}
    routes = {labels["route"] for labels in figures.labels("bridge_request_duration_seconds_count")}
    assert {"/perspectives/{name}/caption", "other"} <= routes
