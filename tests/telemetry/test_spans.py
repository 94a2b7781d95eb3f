"""OpenTelemetry spans and histograms as a collector receives them."""

import gzip
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.api import streams
from tests.api.sockets import socket
from tests.api.streams import KEY, inline
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.servers.loopback import Handler, LoopbackServer
from tests.service import Service

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "congo=t61"}
PROMPT = "Describe the zebra."


class Collector(LoopbackServer):
    """A collector on loopback that decodes OTLP over HTTP: `spans`, `metrics`, `raw` bodies, and `paths` so far."""

    def __init__(self) -> None:
        super().__init__(CollectorHandler)
        self.raw: list[bytes] = []
        self.paths: list[str] = []

    def _decoded(self, path: str, kind: Any) -> list[Any]:
        return [kind.FromString(raw) for raw, where in zip(self.raw, self.paths, strict=True) if where == path]

    @property
    def spans(self) -> list[Any]:
        sent = self._decoded("/v1/traces", ExportTraceServiceRequest)
        groups = [group for request in sent for group in request.resource_spans]
        return [span for group in groups for scope in group.scope_spans for span in scope.spans]

    @property
    def metrics(self) -> dict[str, Any]:
        sent = self._decoded("/v1/metrics", ExportMetricsServiceRequest)
        groups = [group for request in sent for group in request.resource_metrics]
        return {metric.name: metric for group in groups for scope in group.scope_metrics for metric in scope.metrics}


class CollectorHandler(Handler):
    server: Collector

    def do_POST(self) -> None:  # noqa: N802 (the name of the base class)
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.raw.append(gzip.decompress(sent) if self.headers["Content-Encoding"] == "gzip" else sent)
        self.server.paths.append(self.path)
        self.reply()


def attributes(of: Any) -> dict[str, Any]:
    """Return the attributes of a span or a point as plain values."""
    return {attribute.key: _plain(attribute.value) for attribute in of.attributes}


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    content = getattr(value, kind)
    return [_plain(item) for item in content.values] if kind == "array_value" else content


@pytest.mark.slow
def test_a_provider_call_is_a_child_span_whose_id_is_sent_to_the_provider(vllm_server: OpenAIServer) -> None:
    body = streams.caption(vllm_server, perspective=inline("zoo", PROMPT), max_tokens=77, seed=7)
    with Collector() as collector:
        with Service(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_SERVICE_NAME="captions") as service:
            streams.post(service, "/caption?api_key=secret-query", body, headers=PARENT)
            vllm_server.reply(b.Length())
            streams.post(service, "/caption", body)
            with socket(service) as client:
                client.send("caption", "a1", **body)
                client.all_events("a1", "zoo")
        assert service.code == 0
        spans, metrics, raw = collector.spans, collector.metrics, b"".join(collector.raw)
    calls = [span for span in spans if span.name.startswith("chat ")]
    requests = {span.span_id: span for span in spans if span.name.startswith(("POST", "WS"))}
    first, cut, on_socket = calls
    model = vllm_server.models[0]
    assert {span.name for span in calls} == {f"chat {model}"}
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
        attributes(point)["gen_ai.token.type"]: point
        for point in metrics["gen_ai.client.token.usage"].histogram.data_points  # type: ignore[attr-defined]
    }
    assert set(tokens) == {"input", "output"}
    assert tokens["input"].count == 3
    durations = metrics["gen_ai.client.operation.duration"].histogram.data_points  # type: ignore[attr-defined]
    assert {attributes(point).get("error.type"): point.count for point in durations} == {None: 2, "truncated": 1}
    # Caller-supplied model names must not be label values.
    assert {attributes(point)["gen_ai.request.model"] for point in durations} == {"other"}
    assert "http.server.request.duration" in metrics


@pytest.mark.slow
def test_captions_work_while_the_collector_is_down(vllm_server: OpenAIServer) -> None:
    with Service(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_EXPORTER_OTLP_TIMEOUT="1") as service:
        assert streams.post(service, "/caption", streams.caption(vllm_server)).status_code == 200
        assert service.get("/health").status_code == 200
    assert service.code == 0
