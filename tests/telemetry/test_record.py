"""The log line of a request: why it was slow, rejected or expensive, without any secret."""

import asyncio
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from bridge.telemetry.logging import TextFormatter
from tests.api import streams
from tests.api.sockets import socket
from tests.api.streams import KEY, PHOTO, SAMPLE, inline
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import Service
from tests.telemetry.figures import HANG_GUARD, scrape, studio, workspace
from tests.telemetry.lines import line

SIZE = PHOTO.stat().st_size
PROMPT = "Describe the zebra of nobody."
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer("vllm") as running:
        yield running


@pytest.fixture(scope="module")
def service(server: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    toml = studio(server.url, server.models, max_concurrency=1, api_key=f'"{KEY}"')
    server.key = KEY
    with Service(
        workspace=workspace(tmp_path_factory.mktemp("work"), toml), GRAPHCAP_LOG="json", GRAPHCAP_MAX_QUEUE="1"
    ) as running:
        yield running
    # No twelve characters of a key, no prompt, no caption, no query.
    pieces = [KEY[start : start + 12] for start in range(len(KEY) - 11)]
    for word in (*pieces, "zebra", "sentence", "secret-query", "data:image"):
        assert word not in running.log, word


def ask(service: Service, identity: str, path: str = "/caption", **fields: object) -> httpx.Response:
    body = {"perspective": inline("zoo", PROMPT), "image": {"path": SAMPLE}, "provider": "studio", **fields}
    return streams.post(service, f"{path}?secret-query=1", body, headers={"X-Request-ID": identity})


def test_a_caption(service: Service, server: OpenAIServer) -> None:
    server.reply(b.WrongSchema(), b.Status(503, retry_after=0), b.Answer())
    headers = {"X-Request-ID": "why-1", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    body = {"perspective": inline("zoo", PROMPT), "image": {"path": SAMPLE}, "provider": "studio"}
    attempts = streams.post(service, "/caption?secret-query=1", body, headers=headers).json()["attempts"]
    fields = line(service, "why-1")
    stages = fields.pop("stages")
    assert (
        fields.items()
        >= {
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
        }.items()
    )
    assert "code" not in fields
    assert set(stages) - {"import"} == {"image", "prepare", "model", "render"}
    assert fields["ms"] >= stages["model"] > 0


FAILURES = {
    "unknown_perspective": (404, {"perspective": "nobody"}, None),
    "invalid_request": (422, {"zebra": 1}, None),
    "image_not_found": (404, {"image": {"path": "datasets/none.jpg"}}, None),
    "unsupported_image": (415, {"image": {"base64": "AAAA"}}, None),
    "provider_auth": (502, {}, b.Echo("headers", 401)),
    "refused": (422, {}, b.Refusal()),
    "answer_truncated": (502, {}, b.Length()),
    "answer_invalid": (502, {"max_output_retries": 0}, b.WrongSchema()),
    "timeout": (504, {"timeout": 1}, b.Hang()),
    # The last one: the server's limit delays later calls.
    "provider_rate_limited": (429, {"timeout": 2}, b.Status(429, retry_after=2.5)),
}


@pytest.mark.parametrize("code", FAILURES)
def test_the_code_of_a_failure(service: Service, server: OpenAIServer, code: str) -> None:
    status, options, behaviour = FAILURES[code]
    if behaviour is not None:
        server.reply(behaviour)
    assert ask(service, code, **options).json()["code"] == code
    fields = line(service, code)
    assert (fields["status"], fields["code"]) == (status, code)
    assert fields.get("calls", 0) == (behaviour is not None)


@pytest.mark.parametrize(
    ("path", "field"), [("/perspectives/caption", "code"), ("/v1/chat/completions", "error"), ("/nothing", "code")]
)
def test_the_code_of_other_requests(service: Service, path: str, field: str) -> None:
    identity = f"odd{path.replace('/', '.')}"
    answer = httpx.post(service.url + path, content=b"{", headers={"X-Request-ID": identity}, trust_env=False)
    assert field in answer.json()
    assert line(service, identity)["code"] == ("not_found" if path == "/nothing" else "invalid_json")


async def test_a_client_that_disconnected(service: Service, server: OpenAIServer) -> None:
    server.reply(b.Hang("connect"))
    before = len(server.calls)
    body = {"perspective": inline(), "image": {"path": SAMPLE}, "provider": "studio"}
    async with httpx.AsyncClient(timeout=HANG_GUARD, trust_env=False) as client:
        asking = asyncio.create_task(
            client.post(f"{service.url}/perspectives/caption", json=body, headers={"X-Request-ID": "left-1"})
        )
        await asyncio.to_thread(server.wait_for_calls, before + 1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    fields = await asyncio.to_thread(line, service, "left-1")
    assert (fields["status"], fields["code"], fields["calls"], fields["failed_calls"]) == (
        499,
        "cancelled",
        1,
        "cancelled",
    )


def test_a_connection_test_is_logged_and_counted(service: Service, server: OpenAIServer) -> None:
    before = scrape(service).of("bridge_provider_calls_total", provider="studio", outcome="ok")
    asked = len(server.requests)
    parent = f"00-{TRACE}-b7ad6b7169203331-01"
    answer = httpx.post(
        f"{service.url}/providers/studio/test-connection",
        headers={"X-Request-ID": "test-1", "traceparent": parent},
        timeout=HANG_GUARD,
        trust_env=False,
    )
    assert answer.json()["status"] == "success"
    fields = line(service, "test-1")
    assert (fields["provider"], fields["model"], fields["calls"], fields["trace_id"]) == (
        "studio",
        server.models[0],
        1,
        TRACE,
    )
    assert fields["input_tokens"] > 0
    assert "perspective" not in fields
    assert scrape(service).of("bridge_provider_calls_total", provider="studio", outcome="ok") == before + 1
    mine = [one for one in server.requests[asked:] if one.headers.get("traceparent") == parent]
    assert [(one.method, one.target) for one in mine] == [("GET", "/v1/models"), ("POST", "/v1/chat/completions")]


def test_a_stream_has_one_line(service: Service, server: OpenAIServer) -> None:
    server.reply(b.Answer(), b.Status(401))
    for identity, code in (("sse-1", None), ("sse-2", "provider_auth")):
        body = {"perspective": inline("zoo", PROMPT), "image": {"path": SAMPLE}, "provider": "studio"}
        with streams.streaming(service, "/caption", json=body, headers={"X-Request-ID": identity}) as answer:
            list(streams.events(answer))
        fields = line(service, identity)
        assert fields.get("code") == code
        assert fields.items() >= {"status": 200, "calls": 1, "perspective": "zoo", "provider": "studio"}.items()


def test_a_chunked_completion_has_one_line(service: Service, server: OpenAIServer) -> None:
    server.reply(b.Status(401))
    picture = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64," + "AAAA"}}
    body = {"model": "alt_text@studio", "stream": True, "messages": [{"role": "user", "content": [picture]}]}
    headers = {"X-Request-ID": "chunks-1"}
    httpx.post(f"{service.url}/v1/chat/completions", json=body, headers=headers, timeout=HANG_GUARD, trust_env=False)
    fields = line(service, "chunks-1")
    assert (fields["status"], fields["code"], fields["perspective"]) == (200, "unsupported_image", "alt_text")
    server.script.clear()


def test_a_websocket_and_each_of_its_requests_have_a_line(service: Service, server: OpenAIServer) -> None:
    server.reply(b.Answer(), b.Status(401))
    with socket(service, additional_headers={"X-Request-ID": "socket-1"}) as one:
        ids = {}
        for name in ("a1", "a2"):
            one.send("caption", name, perspective=inline("zoo", PROMPT), image={"path": SAMPLE}, provider="studio")
            ids[name] = one.story(name, "zoo")[0]["request_id"]
        one.send("caption", "a3", perspective="nobody", image={"path": SAMPLE})
        one.problem("a3")
    assert line(service, "socket-1", "socket").items() >= {"status": 101, "method": "WS", "requests": 2}.items()
    whole, failed = (line(service, ids[name]) for name in ("a1", "a2"))
    by = {"method": "WS", "path": "/api/v1/perspectives/stream", "perspective": "zoo", "provider": "studio", "calls": 1}
    assert whole.items() >= {**by, "status": 200, "input_tokens": 120}.items()
    assert failed.items() >= {**by, "status": 502, "code": "provider_auth"}.items()
    refused = [json.loads(one) for one in service.log.splitlines() if '"unknown_perspective"' in one]
    assert [one["status"] for one in refused if one["method"] == "WS"] == [404]


async def test_time_in_the_queue_and_a_full_queue(service: Service, server: OpenAIServer) -> None:
    server.reply(b.Hold(), b.Hold())
    before = len(server.calls)
    body = {"perspective": "alt_text", "image": {"path": SAMPLE}, "provider": "studio"}

    async with httpx.AsyncClient(base_url=service.url, timeout=HANG_GUARD, trust_env=False) as client:

        def post(identity: str) -> "asyncio.Task[httpx.Response]":
            headers = {"X-Request-ID": identity}
            return asyncio.create_task(client.post("/perspectives/caption", json=body, headers=headers))

        held = [post("queue-1")]
        await asyncio.to_thread(server.wait_for_calls, before + 1)
        held += [post("queue-2"), post("queue-3")]
        done, _ = await asyncio.wait(held, return_when=asyncio.FIRST_COMPLETED)
        assert [one.result().json()["code"] for one in done] == ["overloaded"]
        server.release()
        ends = [await one for one in held]
    waited = [await asyncio.to_thread(line, service, f"queue-{number}") for number in (1, 2, 3)]
    assert sorted(one.status_code for one in ends) == [200, 200, 503]
    # The first may have waited too: the 429 of an earlier test limits how many calls a window allows.
    assert ["queue_ms" in one for one in waited[1:]] == [one["status"] == 200 for one in waited[1:]]
    assert [one.get("code") for one in waited if one["status"] == 503] == ["overloaded"]


def test_the_longest_wait_of_an_analysis(service: Service, server: OpenAIServer) -> None:
    server.reply(b.Hold(), b.Hold())
    body = {"perspectives": [inline("p1"), inline("p2")], "image": {"path": SAMPLE}, "provider": "studio"}
    with ThreadPoolExecutor(1) as threads:
        before = len(server.calls)
        response = threads.submit(streams.post, service, "/analyze", body, headers={"X-Request-ID": "waits-1"})
        server.wait_for_calls(before + 1)
        server.release()
        assert response.result(HANG_GUARD).status_code == 200
    fields = line(service, "waits-1")
    assert (fields["perspective"], fields["outcomes"]) == ("p1,p2", "ok,ok")
    assert fields["ms"] > fields["queue_ms"] == fields["stages"]["queue"] > 0


def test_the_text_format() -> None:
    record = logging.makeLogRecord(
        {"levelname": "INFO", "msg": "two\nlines", "fields": {"status": 200, "path": "a\nb"}}
    )
    assert TextFormatter().format(record)[9:] == 'info    two\n  lines status=200 path="a\\nb"'
