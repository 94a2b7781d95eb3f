"""An OpenTelemetry collector on loopback that decodes OTLP over HTTP."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """The requests received so far: `spans` and `metrics` decoded, `raw` bodies, and `paths`."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.paths: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers["Content-Length"]))
                collector.raw.append(gzip.decompress(sent) if self.headers["Content-Encoding"] == "gzip" else sent)
                collector.paths.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler

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


def attributes(of: Any) -> dict[str, Any]:
    """Return the attributes of a span or a point as plain values."""
    return {attribute.key: _plain(attribute.value) for attribute in of.attributes}


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    content = getattr(value, kind)
    return [_plain(item) for item in content.values] if kind == "array_value" else content
