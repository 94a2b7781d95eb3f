"""The metrics of a running service, and that callers cannot add labels to them."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import yaml

from bridge.telemetry.multiprocess import VARIABLE
from tests.api import streams
from tests.api.sockets import socket
from tests.api.streams import SAMPLE, inline
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import ROOT, Service
from tests.telemetry.figures import HANG_GUARD, Figures, scrape, studio, until, workspace

HOSTILE = 'x"} 1\nbridge_evil_total{a="'
SIZE = streams.PHOTO.stat().st_size
MORE = """
[providers.down]
kind = "vllm"
base_url = "http://127.0.0.1:9"
default_model = "gone"
breaker = {{ open_seconds = 600 }}
fallbacks = [{{ provider = "studio", model = "{model}" }}]

[providers.fleet]
kind = "vllm"
default_model = "{model}"
strategy = "round_robin"
endpoints = [
  {{ name = "dead", base_url = "http://127.0.0.1:9" }},
  {{ name = "alive", base_url = "{url}" }},
]
"""


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer("vllm") as running:
        yield running


@pytest.fixture(scope="module")
def service(server: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service: `studio` accepts one call at a time, `down` is down, and `fleet` has a dead endpoint.

    With one worker the shared directory for metrics is ignored.
    """
    toml = studio(server.url, server.models, max_concurrency=1) + MORE.format(url=server.url, model=server.models[0])
    with Service(workspace=workspace(tmp_path_factory.mktemp("work"), toml), **{VARIABLE: "/nowhere"}) as running:
        yield running


def ask(service: Service, path: str = "/caption", **fields: object) -> httpx.Response:
    body = {"perspective": "alt_text", "image": {"path": SAMPLE}, "provider": "studio", **fields}
    return streams.post(service, path, {name: value for name, value in body.items() if value is not None})


def grown(before: Figures, after: Figures, name: str, **labels: str) -> float:
    return after.of(name, **labels) - before.of(name, **labels)


def test_a_caption(service: Service, server: OpenAIServer) -> None:
    before = scrape(service)
    assert ask(service).status_code == 200
    after = scrape(service)
    by = {"provider": "studio"}
    caption = {"perspective": "alt_text", "outcome": "ok", "output_mode": "json_schema", **by}
    model = {"model": server.models[0], **by}
    assert grown(before, after, "bridge_captions_total", **caption) == 1
    assert grown(before, after, "bridge_provider_calls_total", outcome="ok", **model) == 1
    assert grown(before, after, "bridge_provider_call_duration_seconds_count", **by) == 1
    assert grown(before, after, "bridge_provider_call_duration_seconds_sum", **by) > 0
    for kind, tokens in {"input": 120, "output": 30, "cached": 64}.items():
        assert grown(before, after, "bridge_tokens_total", kind=kind, **model) == tokens
    for stage in ("image", "prepare", "model", "render", "total"):
        assert grown(before, after, "bridge_stage_duration_seconds_count", stage=stage) == 1
    assert grown(before, after, "bridge_image_received_bytes_total", origin="path") == SIZE
    assert grown(before, after, "bridge_image_sent_bytes_total", **by) == SIZE
    request = {"route": "/perspectives/caption", "method": "POST", "status": "200"}
    assert grown(before, after, "bridge_request_duration_seconds_count", **request) == 1


def test_reasons_of_further_calls(service: Service, server: OpenAIServer) -> None:
    before = scrape(service)
    server.reply(b.WrongSchema(), b.Status(503, retry_after=0), b.Answer())
    assert ask(service).status_code == 200
    server.reply(b.RejectSchema(), b.Answer())
    assert ask(service, perspective=inline()).status_code == 200
    server.reply(b.Status(401))
    assert ask(service, fallbacks=[{"provider": "builtin"}]).json()["provider"] == "builtin"
    after = scrape(service)
    by = {"provider": "studio"}
    assert grown(before, after, "bridge_reasks_total", **by) == 1
    assert grown(before, after, "bridge_retries_total", **by) == 1
    assert grown(before, after, "bridge_schema_steps_total", **by) == 1
    assert grown(before, after, "bridge_fallbacks_total", provider="builtin") == 1
    for outcome, calls in {
        "ok": 2,
        "invalid_answer": 1,
        "unavailable": 1,
        "schema_rejected": 1,
        "auth_failed": 1,
    }.items():
        assert grown(before, after, "bridge_provider_calls_total", outcome=outcome, **by) == calls
    assert grown(before, after, "bridge_captions_total", provider="builtin", outcome="ok") == 1


def test_failures_by_code(service: Service, server: OpenAIServer) -> None:
    before = scrape(service)
    server.reply(b.Status(401))
    assert ask(service).status_code == 502
    assert ask(service, image={"path": "datasets/none.jpg"}).status_code == 404
    assert ask(service, perspective="nobody").status_code == 404
    assert ask(service, variables={"none": "such"}).status_code == 422
    streams.streamed(service, "/caption", {"perspective": "alt_text", "image": {"base64": "AAAA"}})
    after = scrape(service)
    for perspective, provider, code in (
        ("alt_text", "studio", "provider_auth"),
        ("alt_text", "studio", "image_not_found"),
        ("unknown", "none", "unknown_perspective"),
        ("alt_text", "none", "invalid_request"),
        ("alt_text", "builtin", "unsupported_image"),
    ):
        labels = {"perspective": perspective, "provider": provider, "outcome": code}
        assert grown(before, after, "bridge_captions_total", **labels) == 1, labels
        assert grown(before, after, "bridge_problems_total", code=code) == 1


def test_caller_supplied_names_are_not_labels(service: Service, server: OpenAIServer) -> None:
    before = scrape(service)
    config = {"kind": "vllm", "name": HOSTILE, "base_url": server.url + "/other", "api_key": "sk-mine-123456789"}
    for name in (HOSTILE, "studio2", "ünïcode"):
        ask(service, perspective=inline(name), provider=name, model=name)
        ask(service, perspective=inline(name), provider=name, model=name, provider_config=config)
        ask(service, perspective=name)
        streams.post(service, f"/{quote(name, safe='')}/caption", {"image": {"path": SAMPLE}})
        httpx.request("PUT", f"{service.url}/{quote(name, safe='')}", timeout=HANG_GUARD, trust_env=False)
        httpx.request("BREW", f"{service.url}/perspectives/caption", timeout=HANG_GUARD, trust_env=False)
    after = scrape(service)
    assert not [name for name in after.families if "evil" in name]
    values = {value for sample in after.samples for value in sample.labels.values()}
    assert not [value for value in values if any(word in value for word in ("evil", "studio2", "BREW", "sk-"))]
    assert all(value.isascii() for value in values)
    known = {"alt_text", "inline", "unknown"}
    assert {labels["perspective"] for labels in after.labels("bridge_captions_total")} <= known
    assert {labels["provider"] for labels in after.labels("bridge_captions_total")} <= {
        "studio",
        "vllm",
        "builtin",
        "none",
    }
    assert {labels["model"] for labels in after.labels("bridge_provider_calls_total")} <= {
        *server.models,
        "other",
        "measurements",
    }
    assert grown(before, after, "bridge_captions_total", perspective="inline") > 0
    assert grown(before, after, "bridge_captions_total", perspective="unknown") > 0
    routes = {labels["route"] for labels in after.labels("bridge_request_duration_seconds_count")}
    assert {"/perspectives/{name}/caption", "other"} <= routes


async def test_gauges_of_waiting_and_running_calls(service: Service, server: OpenAIServer) -> None:
    server.reply(b.Hold(), b.Hold(), b.Hold())
    before = len(server.calls)
    async with httpx.AsyncClient(base_url=service.url, timeout=HANG_GUARD, trust_env=False) as client:
        body = {"perspective": "alt_text", "image": {"path": SAMPLE}, "provider": "studio"}
        held = [asyncio.create_task(client.post("/perspectives/caption", json=body)) for _ in range(3)]
        await asyncio.to_thread(server.wait_for_calls, before + 1)
        seen = await asyncio.to_thread(until, service, lambda figures: figures.of("bridge_queue_depth") == 2)
        assert seen.of("bridge_provider_calls_in_flight", provider="studio") == 1
        assert seen.of("bridge_requests_in_flight") == 3
        server.release()
        assert [(await call).status_code for call in held] == [200, 200, 200]
    after = await asyncio.to_thread(scrape, service)
    for gauge in ("bridge_queue_depth", "bridge_provider_calls_in_flight", "bridge_requests_in_flight"):
        assert after.of(gauge) == 0
    assert after.of("bridge_stage_duration_seconds_count", stage="queue") == 2


def test_websockets_and_their_requests(service: Service) -> None:
    before = scrape(service)
    with socket(service) as one:
        one.send("caption", "a1", perspective="alt_text", image={"path": SAMPLE})
        one.story("a1", "alt_text")
        one.send("caption", "a2", perspective="nobody", image={"path": SAMPLE})
        assert one.problem("a2")["code"] == "unknown_perspective"
        during = scrape(service)
        assert during.of("bridge_websocket_connections") == 1
    after = until(service, lambda figures: figures.of("bridge_websocket_connections") == 0)
    assert grown(before, after, "bridge_websocket_connections_opened_total") == 1
    for status in ("200", "404"):
        labels = {"route": "/perspectives/stream", "method": "WS", "status": status}
        assert grown(before, after, "bridge_request_duration_seconds_count", **labels) == 1
    assert grown(before, after, "bridge_captions_total", outcome="unknown_perspective") == 1


def test_scrape_jobs_in_the_docs_send_a_key() -> None:
    shown = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs/operations.md").read_text("utf-8"), re.S | re.M)
    jobs = [job for block in shown for job in yaml.safe_load(block)["scrape_configs"]]
    assert ["kubernetes_sd_configs" in job for job in jobs] == [False, True]
    for job in jobs:
        assert job["job_name"] == "graphcap-bridge"  # as the alert rules have it
        assert set(job["authorization"]) == {"credentials_file"}


ANALYSIS = {
    "perspectives": [inline(name) for name in ("first", "second", "third")],
    "synthesize": inline("all"),
    "image": {"path": SAMPLE},
    "provider": "studio",
}


def test_stages_of_an_analysis_and_of_its_captions(service: Service) -> None:
    before = scrape(service)
    assert streams.post(service, "/analyze", ANALYSIS).status_code == 200
    after = scrape(service)
    counts = {"image": 1, "perspectives": 1, "synthesis": 1, "model": 4, "render": 4, "total": 4}
    for stage, count in counts.items():
        assert grown(before, after, "bridge_stage_duration_seconds_count", stage=stage) == count, stage


def test_fallbacks_of_a_provider_that_is_down(service: Service, server: OpenAIServer) -> None:
    """A provider that is known to be down gets no call, and its fallback is counted all the same."""
    until(service, lambda figures: figures.of("bridge_breaker_state", provider="down") == 2)
    before = scrape(service)
    server.reply(b.WrongSchema(), b.Answer())
    response = ask(service, provider="down", model=None)
    assert [attempt["provider"] for attempt in response.json()["attempts"]] == ["studio", "studio"]
    assert ask(service, model="mine").status_code == 404
    after = scrape(service)
    by = {"provider": "studio"}
    assert grown(before, after, "bridge_fallbacks_total", **by) == 1
    assert grown(before, after, "bridge_reasks_total", **by) == 1
    assert grown(before, after, "bridge_provider_calls_total", model=server.models[0], **by) == 2
    assert grown(before, after, "bridge_provider_calls_total", model="other", **by) == 1


def test_a_dead_endpoint_is_visible_and_the_other_one_responds(service: Service, server: OpenAIServer) -> None:
    state, up = "bridge_breaker_state", "bridge_provider_up"
    before = until(service, lambda figures: figures.of(state, endpoint="dead") == 2 and bool(figures.labels(up)))
    assert before.of(state, provider="fleet", endpoint="alive") == before.of(state, provider="studio") == 0
    assert before.of(up, provider="fleet") == before.of(up, provider="studio") == 1
    assert ask(service, provider="fleet").status_code == 200
    after = scrape(service)
    by = {"provider": "fleet", "outcome": "ok", "model": server.models[0]}
    assert grown(before, after, "bridge_provider_calls_total", **by) == 1
    assert after.of("bridge_provider_calls_in_flight", provider="fleet") == 0


def test_one_worker_writes_nothing(service: Service) -> None:
    scrape(service)
    assert "graphcap-metrics" not in Path(f"/proc/{service.process.pid}/maps").read_text()
