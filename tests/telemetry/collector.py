"""An OpenTelemetry collector on loopback that decodes OTLP over HTTP."""

import gzip
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.servers.loopback import Handler, LoopbackServer


class Collector(LoopbackServer):
    """The requests received so far: `spans` and `metrics` decoded, `raw` bodies, and `paths`."""

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
