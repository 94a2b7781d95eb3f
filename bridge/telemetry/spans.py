"""OpenTelemetry by its conventions for generative AI: one span and two histograms for each call to a provider.

Off until `turn_on`, and free of cost then. Prompts, pictures and captions are no attributes of anything.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bridge.telemetry import trace
from bridge.telemetry.account import ProviderCall, current
from providers.base import VisionRequest

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram
    from opentelemetry.trace import Span, Tracer

# The names that the conventions give; a kind that they do not know goes by its own.
_SYSTEMS = {"gemini": "gcp.gemini"}
_FINISHED = {"ok": "stop", "truncated": "length", "blocked": "content_filter", "refused": "refusal"}
_ENDPOINTS = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)
# What FastAPI exports with; gRPC's exporter alone is of no use to it (measured with FastAPI 0.165).
_EXTRA = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
# Bounds that the conventions advise.
_TOKEN_BOUNDS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
_SECOND_BOUNDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_MODEL = 200


@dataclass(frozen=True, slots=True)
class _Instruments:
    tracer: "Tracer"
    tokens: "Histogram"
    seconds: "Histogram"


_on: _Instruments | None = None


def wanted() -> bool:
    """Whether the environment asks for telemetry to be exported."""
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return not disabled and any(os.environ.get(name, "").strip() for name in _ENDPOINTS)


def missing() -> bool:
    """Whether the extra that exports is not installed."""
    return not all(map(_is_installed, _EXTRA))


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # what it is a part of is not
        return False


def turn_on(version: str) -> bool:
    """Write spans to the process's tracer, if it has a real one by now; whether it has."""
    global _on  # like OpenTelemetry's own providers, one a process
    from opentelemetry import metrics
    from opentelemetry import trace as otel

    provider: Any = otel.get_tracer_provider()
    if isinstance(provider, otel.ProxyTracerProvider | otel.NoOpTracerProvider):
        return False
    if hasattr(provider, "add_span_processor"):
        provider.add_span_processor(_without_query())
    meter = metrics.get_meter("graphcap.bridge", version)
    _on = _Instruments(
        otel.get_tracer("graphcap.bridge", version),
        meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Tokens of a call.",
            explicit_bucket_boundaries_advisory=_TOKEN_BOUNDS,
        ),
        meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="Duration of a call.",
            explicit_bucket_boundaries_advisory=_SECOND_BOUNDS,
        ),
    )
    return True


def is_on() -> bool:
    """Whether spans are written."""
    return _on is not None


def _without_query() -> Any:
    """FastAPI's spans hold the URL's query, where somebody may have put a key (measured with FastAPI 0.165)."""
    from opentelemetry.sdk.trace import SpanProcessor

    class WithoutQuery(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            if "url.query" in (span.attributes or {}):
                span.set_attribute("url.query", "REDACTED")

    return WithoutQuery()


@contextmanager
def chat(kind: str, request: VisionRequest, made: ProviderCall) -> Iterator[Mapping[str, str]]:
    """Around one call: the trace headers that go along. What became of it is read from `made` at the end."""
    if _on is None:
        yield trace.headers.get()
        return
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    with _on.tracer.start_as_current_span(
        f"chat {request.model[:_MODEL]}",
        kind=SpanKind.CLIENT,
        attributes=_asked(kind, request, made),
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        headers: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(headers)
        if (account := current()) and not account.trace_id:
            account.trace_id = trace.trace_id(headers)
        try:
            yield headers
        finally:
            _end(span, made)
            _measure(_on, kind, made)


def _common(kind: str, made: ProviderCall) -> dict[str, Any]:
    place = urlsplit(made.address)
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": _SYSTEMS.get(kind, kind),
        **({"server.address": place.hostname} if place.hostname else {}),
        **({"server.port": place.port} if place.port else {}),
    }


def _asked(kind: str, request: VisionRequest, made: ProviderCall) -> dict[str, Any]:
    options = request.options
    sampling = {
        "gen_ai.request.max_tokens": options.max_tokens,
        "gen_ai.request.temperature": options.temperature,
        "gen_ai.request.top_p": options.top_p,
        "gen_ai.request.seed": options.seed,
    }
    return {
        **_common(kind, made),
        "gen_ai.request.model": request.model[:_MODEL],
        "gen_ai.output.type": "json",
        "graphcap.output_mode": request.output_mode,
        **({"graphcap.again": made.again} if made.again else {}),
        **{name: value for name, value in sampling.items() if value is not None},
    }


def _end(span: "Span", made: ProviderCall) -> None:
    from opentelemetry.trace import StatusCode

    told = {
        "gen_ai.usage.input_tokens": made.tokens.get("input"),
        "gen_ai.usage.output_tokens": made.tokens.get("output"),
        "gen_ai.usage.cache_read.input_tokens": made.tokens.get("cached"),
        "gen_ai.response.model": made.answered[:_MODEL] or None,
    }
    span.set_attributes({name: value for name, value in told.items() if value is not None})
    if made.outcome in _FINISHED:
        span.set_attribute("gen_ai.response.finish_reasons", (_FINISHED[made.outcome],))
    if made.outcome != "ok":
        span.set_attribute("error.type", made.outcome)
        span.set_status(StatusCode.ERROR)


def _measure(on: _Instruments, kind: str, made: ProviderCall) -> None:
    """The model by its bounded name: every value of it is a series."""
    common = {**_common(kind, made), "gen_ai.request.model": made.model}
    failed = {} if made.outcome == "ok" else {"error.type": made.outcome}
    on.seconds.record(made.seconds, {**common, **failed})
    for token in ("input", "output"):
        if token in made.tokens:
            on.tokens.record(made.tokens[token], {**common, "gen_ai.token.type": token})
