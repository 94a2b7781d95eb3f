"""OpenTelemetry as a collector sees it, and that it costs nothing where nobody asked for it."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from opentelemetry import trace

from tests.api import streams
from tests.api.sockets import socket
from tests.api.streams import KEY, SAMPLE, inline
from tests.contract.kinds import OF_KIND
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import ROOT, Service, clean_environment
from tests.telemetry.collector import Collector, attributes

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "congo=t61"}
PROMPT = "Describe the zebra."


def test_a_call_is_a_span_below_the_request_and_its_id_goes_along(vllm_server: OpenAIServer) -> None:
    body = streams.caption(vllm_server, perspective=inline("zoo", PROMPT), max_tokens=77, seed=7)
    with Collector() as collector:
        with Service(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_SERVICE_NAME="captions") as service:
            streams.post(service, "/caption?api_key=secret-query", body, headers=PARENT)
            vllm_server.reply(b.Length())
            streams.post(service, "/caption", body)
            with socket(service) as one:
                one.send("caption", "a1", **body)
                one.story("a1", "zoo")
        assert service.code == 0
        spans, metrics, raw = collector.spans, collector.metrics, b"".join(collector.raw)
    calls = [one for one in spans if one.name.startswith("chat ")]
    requests = {one.span_id: one for one in spans if one.name.startswith(("POST", "WS"))}
    first, cut, on_socket = calls
    model = vllm_server.models[0]
    assert {one.name for one in calls} == {f"chat {model}"}
    assert attributes(first) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": model,
        "gen_ai.request.max_tokens": 77,
        "gen_ai.request.seed": 7,
        "gen_ai.response.model": model,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.output.type": "json",
        "gen_ai.usage.input_tokens": 120,
        "gen_ai.usage.output_tokens": 30,
        "gen_ai.usage.cache_read.input_tokens": 64,
        "graphcap.output_mode": "json_schema",
        "server.address": "127.0.0.1",
        "server.port": int(vllm_server.url.split(":")[2].split("/")[0]),
    }
    parent = requests[first.parent_span_id]
    assert (first.trace_id.hex(), parent.trace_id.hex(), parent.parent_span_id.hex()) == (TRACE, TRACE, SPAN)
    assert parent.name == "POST /api/v1/perspectives/caption"
    assert on_socket.parent_span_id in requests
    sent = vllm_server.calls[0].headers
    assert sent["traceparent"] == f"00-{TRACE}-{first.span_id.hex()}-01"
    assert sent["tracestate"] == "congo=t61"
    assert attributes(cut).items() >= {"error.type": "truncated"}.items()
    assert attributes(cut)["gen_ai.response.finish_reasons"] == ["length"]
    assert cut.status.code == 2
    assert f'trace_id="{cut.trace_id.hex()}"' in service.log
    check_histograms(metrics)
    for word in (b"zebra", b"secret-query", KEY.encode(), b"sentence", b"data:image", b"/9j/"):
        assert word not in raw, word


def check_histograms(metrics: dict[str, object]) -> None:
    tokens = {
        attributes(one)["gen_ai.token.type"]: one
        for one in metrics["gen_ai.client.token.usage"].histogram.data_points  # type: ignore[attr-defined]
    }
    assert set(tokens) == {"input", "output"}
    assert tokens["input"].count == 3
    durations = metrics["gen_ai.client.operation.duration"].histogram.data_points  # type: ignore[attr-defined]
    assert {attributes(one).get("error.type"): one.count for one in durations} == {None: 2, "truncated": 1}
    # A model that a caller named is no series of its own.
    assert {attributes(one)["gen_ai.request.model"] for one in durations} == {"other"}
    assert "http.server.request.duration" in metrics


@pytest.mark.slow
def test_the_other_kinds_get_the_spans_id_too() -> None:
    with Collector() as collector, OF_KIND["ollama"].server() as ollama, OF_KIND["gemini"].server() as gemini:
        servers = {"ollama": ollama, "gemini": gemini}
        with Service(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as service:
            for kind, server in servers.items():
                body = {**streams.caption(server, OF_KIND[kind]), "perspective": "alt_text"}
                assert streams.post(service, "/caption", body).status_code == 200
        calls = [one for one in collector.spans if one.name.startswith("chat ")]
        assert [attributes(one)["gen_ai.provider.name"] for one in calls] == ["ollama", "gcp.gemini"]
        for span, server in zip(calls, servers.values(), strict=True):
            sent = {name.lower(): value for name, value in server.call.headers.items()}
            assert sent["traceparent"].startswith(f"00-{span.trace_id.hex()}-{span.span_id.hex()}-")


@pytest.mark.slow
def test_switched_off_nothing_is_exported() -> None:
    with Collector() as collector:
        with Service(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_SDK_DISABLED="true") as service:
            streams.post(service, "/caption", {"perspective": "alt_text", "image": {"path": SAMPLE}})
        assert collector.paths == []


@pytest.mark.slow
def test_a_collector_that_is_gone_disturbs_nobody(vllm_server: OpenAIServer) -> None:
    with Service(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_EXPORTER_OTLP_TIMEOUT="1") as service:
        assert streams.post(service, "/caption", streams.caption(vllm_server)).status_code == 200
        assert httpx.get(f"{service.url}/health", trust_env=False).status_code == 200
    assert service.code == 0


def test_an_sdk_without_an_exporter_is_said_and_the_service_starts(tmp_path: Path) -> None:
    """OpenTelemetry as it is installed here, but for its exporters."""
    mine = tmp_path / "opentelemetry"
    mine.mkdir()
    (mine / "__init__.py").touch()  # with one, it goes before the installed namespace of the same name
    for part in Path(trace.__file__).parents[1].iterdir():
        if part.name != "exporter":
            (mine / part.name).symlink_to(part)
    with Service(PYTHONPATH=str(tmp_path), OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9") as service:
        assert httpx.get(f"{service.url}/livez", trust_env=False).status_code == 200
    assert "the extra 'otel' is not installed" in service.log


def test_without_otel_nothing_of_its_sdk_is_imported() -> None:
    script = (
        "import asyncio, sys\nfrom bridge.app import build\nfrom bridge.settings import load\n"
        "app = build(load())\n"
        "async def main():\n    async with app.router.lifespan_context(app): pass\n"
        "asyncio.run(main())\n"
        "print([one for one in sys.modules if one.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
