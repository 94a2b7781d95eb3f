"""All Prometheus metrics, in base units and with a bounded number of label values. Only the service imports them."""

import os
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.multiprocess import MultiProcessCollector

from bridge.run import Attempt, Run
from bridge.telemetry.multiprocess import VARIABLE
from bridge.telemetry.record import RequestRecord
from providers.base import Usage

M = TypeVar("M", bound=MetricWrapperBase)
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SHARED = bool(os.environ.get(VARIABLE))  # whether several workers share their metrics
BREAKER_STATES = ("closed", "half_open", "open")  # the states for the values 0, 1 and 2 of `BREAKER`
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE", "WS"})

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series beside each, without use here
registry = CollectorRegistry()
TABLE: list[tuple[str, str, str, str]] = []  # name, kind, labels and meaning of every metric


def _metric(kind: type[M], name: str, meaning: str, labels: str = "", **options: object) -> M:
    TABLE.append((f"bridge_{name}", kind.__name__.lower(), ", ".join(labels.split()), meaning))
    return kind(f"bridge_{name}", meaning, labels.split(), registry=registry, **options)  # type: ignore[arg-type]


def _gauge(name: str, meaning: str, labels: str = "", mode: str = "livesum") -> Gauge:
    """Create a gauge. `mode`: how the values of several workers are combined."""
    return _metric(Gauge, name, meaning, labels, multiprocess_mode=mode)


REQUESTS = _metric(
    Histogram,
    "request_duration_seconds",
    "Requests by route, method and status; one on a WebSocket has the method WS and its status as an HTTP request.",
    "route method status",
    buckets=_SECONDS,
)
KEY_REQUESTS = _metric(Counter, "key_requests_total", "Requests with a valid API key, by its name.", "key")
PROBLEMS = _metric(Counter, "problems_total", "Requests that ended in a problem, by its code.", "code")
CAPTIONS = _metric(
    Counter,
    "captions_total",
    "Captions; every inline perspective is `inline`, the outcome is `ok` or the problem's code.",
    "perspective provider outcome output_mode",
)
STAGES = _metric(
    Histogram,
    "stage_duration_seconds",
    "Time of captions by stage: queue, image, import, prepare, load, model (with its waits), render, total; "
    "once per analysis: image, perspectives, synthesis.",
    "stage",
    buckets=_SECONDS,
)
CALLS = _metric(
    Counter,
    "provider_calls_total",
    "Calls to providers by outcome; a model by its name only where it is configured, else `other`.",
    "provider model outcome",
)
CALL_SECONDS = _metric(
    Histogram, "provider_call_duration_seconds", "Duration of calls to providers.", "provider", buckets=_SECONDS
)
TOKENS = _metric(
    Counter,
    "tokens_total",
    "Tokens that providers reported: input, output, cached (part of input).",
    "provider model kind",
)
REASONS = {
    "reask": _metric(Counter, "reasks_total", "Calls made because an answer failed schema validation.", "provider"),
    "retry": _metric(Counter, "retries_total", "Calls made because the connection or the server failed.", "provider"),
    "schema": _metric(Counter, "schema_steps_total", "Calls made because a schema was rejected.", "provider"),
    "fallback": _metric(Counter, "fallbacks_total", "First calls to a fallback.", "provider"),
}
RECEIVED = _metric(Counter, "image_received_bytes_total", "Bytes of images as they were received, by source.", "origin")
SENT = _metric(Counter, "image_sent_bytes_total", "Bytes of images sent to providers, before base64.", "provider")
SOCKETS_OPENED = _metric(Counter, "websocket_connections_opened_total", "WebSockets that were accepted.")
SOCKETS = _gauge("websocket_connections", "WebSockets that are open.")
IN_FLIGHT = _gauge("requests_in_flight", "POSTs and requests on WebSockets that are running.")
CALLING = _gauge("provider_calls_in_flight", "Running calls at an endpoint.", "provider endpoint")
QUEUE = _gauge("queue_depth", "Calls in the queue of a provider.", "provider")
BREAKER = _gauge(
    "breaker_state",
    "Circuit breaker of a configured endpoint: 0 closed, 1 half-open, 2 open; the highest of all workers.",
    "provider endpoint",
    "livemax",
)
UP = _gauge("provider_up", "Whether the last probe of a provider of providers.toml succeeded.", "provider", "livemin")


def count_request(record: RequestRecord, route: str, method: str) -> None:
    """Count a request that has ended, its captions and its provider calls."""
    method = method if method in _METHODS else "other"
    REQUESTS.labels(route, method, str(record.status)).observe(record.milliseconds / 1000)
    if record.key:
        KEY_REQUESTS.labels(record.key).inc()
    if record.code:
        PROBLEMS.labels(record.code).inc()
    for run in record.captions:
        mode = run.attempts.calls[-1].output_mode if run.attempts.calls else "none"
        CAPTIONS.labels(run.perspective_label, run.provider_label, run.outcome, mode).inc()
        _count_stages(run)
    if record.wants_caption and not record.captions:
        label = record.run.perspective_label if record.run else "unknown"
        CAPTIONS.labels(label, "none", record.code or "unknown", "none").inc()
    for run in record.runs:
        for attempt in run.attempts.calls:
            _count_call(attempt)
    if record.run is not None:
        for source, size in record.run.image_bytes.items():
            RECEIVED.labels(source).inc(size)
        if record.run.children:
            _count_stages(record.run, "total")


def _count_stages(run: Run, excluded: str = "") -> None:
    for stage, ms in run.timings.milliseconds().items():
        if stage != excluded:
            STAGES.labels(stage).observe(ms / 1000)


def _count_call(attempt: Attempt) -> None:
    provider, model = attempt.metric_provider, attempt.metric_model
    CALLS.labels(provider, model, attempt.outcome).inc()
    CALL_SECONDS.labels(provider).observe(attempt.seconds)
    SENT.labels(provider).inc(attempt.sent_bytes)
    if attempt.reason:
        REASONS[attempt.reason].labels(provider).inc()
    usage = attempt.usage or Usage()
    counts = {"input": usage.input_tokens, "output": usage.output_tokens, "cached": usage.cached_tokens}
    for kind, tokens in counts.items():
        if tokens is not None:
            TOKENS.labels(provider, model, kind).inc(tokens)


def exposition() -> bytes:
    """Return every metric in Prometheus' text format. With several workers, combine the values from their files."""
    if not SHARED:
        return generate_latest(registry)
    combined = CollectorRegistry()
    MultiProcessCollector(combined)  # type: ignore[no-untyped-call]
    return generate_latest(combined)
