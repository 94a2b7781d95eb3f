"""The figures of this service for Prometheus: base units, bounded labels, one table of them.

Only the service imports this: the package takes 0.07 s, and a command line counts nothing.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from bridge.telemetry import shared
from bridge.telemetry.account import UNKNOWN, Account, Captioning, ProviderCall

M = TypeVar("M", bound=MetricWrapperBase)
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Breaker = Literal["closed", "half_open", "open"]
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE", "WS"})
_BREAKERS: tuple[Breaker, ...] = ("closed", "half_open", "open")

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series beside each, for nobody here

SHARED = os.environ.get(shared.VARIABLE)
# Chosen here, before the first metric is made: prometheus_client would go by a variable that may be somebody else's.
if SHARED:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = SHARED
    seat = shared.take_seat(Path(SHARED))
    values.ValueClass = values.MultiProcessValue(lambda: seat)  # type: ignore[no-untyped-call]
else:
    values.ValueClass = values.MutexValue

registry = CollectorRegistry()
_made: dict[str, MetricWrapperBase] = {}


def _metric(kind: type[M], name: str, meaning: str, labels: str = "", **options: object) -> M:
    made = kind(f"bridge_{name}", meaning, labels.split(), registry=registry, **options)  # type: ignore[arg-type]
    _made[f"bridge_{name}"] = made
    return made


def _gauge(name: str, meaning: str, labels: str = "", of_all: str = "livesum") -> Gauge:
    """`of_all`: what the figure of several workers is."""
    return _metric(Gauge, name, meaning, labels, multiprocess_mode=of_all)


REQUESTS = _metric(
    Histogram,
    "request_duration_seconds",
    "Requests by route, method and status; one on a socket has the method WS and the status it would have had alone.",
    "route method status",
    buckets=_SECONDS,
)
PROBLEMS = _metric(Counter, "problems_total", "Requests that ended in a problem, by its code.", "code")
CAPTIONS = _metric(
    Counter,
    "captions_total",
    "Captions asked for; a perspective that a caller brought is `inline`, the outcome is `ok` or the problem's code.",
    "perspective provider outcome output_mode",
)
STAGES = _metric(
    Histogram,
    "stage_duration_seconds",
    "Where the time of captions went: queue, image, prepare, model (with its waits), render, total; "
    "once an analysis: image, perspectives, synthesis.",
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
    "Tokens that providers told of: input, output, cached (part of input).",
    "provider model kind",
)
AGAIN = {
    "reask": _metric(Counter, "reasks_total", "Calls made because an answer did not fit its schema.", "provider"),
    "retry": _metric(Counter, "retries_total", "Calls made again because the line or the server failed.", "provider"),
    "schema": _metric(Counter, "schema_steps_total", "Calls made with a simpler schema than was rejected.", "provider"),
    "fallback": _metric(Counter, "fallbacks_total", "Calls made to a target that stands in for another.", "provider"),
}
RECEIVED = _metric(Counter, "image_received_bytes_total", "Bytes of pictures as they came, by where from.", "origin")
SENT = _metric(Counter, "image_sent_bytes_total", "Bytes of pictures sent to providers, before base64.", "provider")
SOCKETS_OPENED = _metric(Counter, "websocket_connections_opened_total", "WebSockets that were accepted.")
SOCKETS = _gauge("websocket_connections", "WebSockets that are open.")
IN_FLIGHT = _gauge("requests_in_flight", "POSTs and requests on sockets that are under way.")
CALLING = _gauge("provider_calls_in_flight", "Calls under way at an endpoint.", "provider endpoint")
QUEUE = _gauge("queue_depth", "Calls that wait for any endpoint of a provider.", "provider")
BREAKER = _gauge(
    "breaker_state",
    "Circuit breaker of a configured endpoint: 0 closed, 1 half-open, 2 open; the worst of all workers.",
    "provider endpoint",
    "livemax",
)
UP = _gauge(
    "provider_up", "Whether the last probe of a provider of providers.toml was answered.", "provider", "livemin"
)


class EndpointLoad(Protocol):
    """What is read of an endpoint's state."""

    @property
    def endpoint(self) -> str: ...
    @property
    def breaker(self) -> Breaker: ...
    @property
    def in_flight(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Load:
    """How busy one provider is right now; `up`: whether its last probe was answered."""

    provider: str
    waiting: int
    endpoints: tuple[EndpointLoad, ...]
    up: bool | None = None


class _Kept:
    """The series of one metric by their labels: a dictionary is ten times as quick as `labels()`."""

    def __init__(self) -> None:
        self._series: dict[tuple[object, ...], object] = {}

    def __call__(self, metric: M, *labels: str) -> M:
        key = (metric, *labels)
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = metric.labels(*labels)
        return found  # type: ignore[return-value]


_of = _Kept()


def request(account: Account, route: str, method: str) -> None:
    """Count a request that has ended."""
    method = method if method in _METHODS else "other"
    _of(REQUESTS, route, method, str(account.status)).observe(account.ms() / 1000)
    if account.code:
        _of(PROBLEMS, account.code).inc()
    for origin, size in account.received.items():
        _of(RECEIVED, origin).inc(size)


def refused(account: Account) -> None:
    """Count a caption that was refused before it was begun."""
    _of(CAPTIONS, account.perspective, "none", account.code or UNKNOWN, "none").inc()


def caption(one: Captioning, outcome: str) -> None:
    """Count a caption that has ended, and the calls it took."""
    _of(CAPTIONS, one.perspective, one.provider, outcome, one.output_mode).inc()
    stages(one.spent)
    calls(one)


def calls(one: Captioning) -> None:
    """Count the calls that were made for it."""
    for call in one.calls:
        _call(call)


def stages(spent: Mapping[str, float]) -> None:
    """Count the milliseconds that each stage took."""
    for stage, ms in spent.items():
        _of(STAGES, stage).observe(ms / 1000)


def _call(call: ProviderCall) -> None:
    _of(CALLS, call.provider, call.model, call.outcome).inc()
    _of(CALL_SECONDS, call.provider).observe(call.seconds)
    _of(SENT, call.provider).inc(call.sent_bytes)
    for kind, tokens in call.tokens.items():
        _of(TOKENS, call.provider, call.model, kind).inc(tokens)
    if call.again:
        _of(AGAIN[call.again], call.provider).inc()


def loads(found: Iterable[Load]) -> None:
    """Set the gauges of this worker's providers."""
    for one in found:
        _of(QUEUE, one.provider).set(one.waiting)
        for endpoint in one.endpoints:
            _of(CALLING, one.provider, endpoint.endpoint).set(endpoint.in_flight)
            _of(BREAKER, one.provider, endpoint.endpoint).set(_BREAKERS.index(endpoint.breaker))
        if one.up is not None:
            _of(UP, one.provider).set(one.up)


def exposition() -> bytes:
    """Every figure in Prometheus' text form; with several workers the sum of all. Reads files: not for the loop."""
    if not SHARED:
        return generate_latest(registry)
    summed = CollectorRegistry()
    summed.register(_Summed())
    return generate_latest(summed)


class _Summed(Collector):
    """The figures of all workers; a metric that has no series yet is still named."""

    def collect(self) -> Iterable[Metric]:
        merge = MultiProcessCollector.merge
        merged = list(merge(shared.files(Path(SHARED or "")), accumulate=True))  # type: ignore[no-untyped-call]
        found = {one.name for one in merged}
        yield from merged
        yield from (one for one in registry.collect() if one.name not in found)


def described() -> Iterable[tuple[str, str, str, str]]:
    """Name, kind, labels and meaning of every metric."""
    for name, made in _made.items():
        (told,) = made.describe()
        yield name, told.type, ", ".join(made._labelnames), told.documentation
