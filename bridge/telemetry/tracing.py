"""Traces: the caller's W3C trace context, and one OpenTelemetry span and two histograms for each provider call.

Spans follow the semantic conventions for generative AI. They are off until `turn_on`, and cost nothing then. Prompts,
images and captions are never attributes.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bridge.run import Attempt, Run
from providers.base import VisionRequest
from providers.usage import Usage

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram
    from opentelemetry.trace import Span, Tracer

# https://www.w3.org/TR/trace-context/: a version above 00 may append fields.
_PARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-[!-~]*)?")
_KEY = r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_VALUE = r"[ -+\--<>-~]{0,255}[!-+\--<>-~]"
_MEMBER = re.compile(f"({_KEY})={_VALUE}")
_MAX_MEMBERS, _MAX_STATE = 32, 512
# The conventions' names; a kind that they do not list keeps its own.
_SYSTEMS = {"gemini": "gcp.gemini"}
_FINISH_REASONS = {"ok": "stop", "truncated": "length", "blocked": "content_filter", "refused": "refusal"}
_ENDPOINTS = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)
# FastAPI 0.165 exports through these; the gRPC exporter alone is not enough.
_EXTRA = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
# The bucket bounds that the conventions advise.
_TOKEN_BOUNDS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
_SECOND_BOUNDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_MAX_MODEL = 200


def read_headers(parents: Sequence[str], states: Sequence[str]) -> dict[str, str]:
    """Return the trace headers to pass on; empty unless there is exactly one valid `traceparent`."""
    match = _PARENT.fullmatch(parents[0].strip()) if len(parents) == 1 else None
    if match is None or (match[1] == "00" and match[5]):
        return {}
    parent = "-".join(match.groups()[:4]) if match[1] == "00" else f"00-{match[2]}-{match[3]}-{match[4]}"
    state = ",".join(states).strip()
    return {"traceparent": parent, **({"tracestate": state} if _is_state(state) else {})}


def trace_id(headers: Mapping[str, str]) -> str:
    """Return the trace id of trace headers, "" without one."""
    return headers.get("traceparent", "")[3:35]


def _is_state(text: str) -> bool:
    if not text or len(text) > _MAX_STATE:
        return False
    members = [member.strip(" \t") for member in text.split(",") if member.strip(" \t")]
    keys = [match[1] for member in members if (match := _MEMBER.fullmatch(member))]
    return 0 < len(members) <= _MAX_MEMBERS and len(keys) == len(members) == len(set(keys))


@dataclass(frozen=True, slots=True)
class _Instruments:
    tracer: "Tracer"
    tokens: "Histogram"
    seconds: "Histogram"


_instruments: _Instruments | None = None


def is_configured() -> bool:
    """Return whether the environment names an OpenTelemetry endpoint."""
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return not disabled and any(os.environ.get(name, "").strip() for name in _ENDPOINTS)


def is_missing() -> bool:
    """Return whether the extra that exports is not installed."""
    return not all(map(_is_installed, _EXTRA))


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is not installed
        return False


def turn_on(version: str) -> bool:
    """Write spans to the process's tracer; return False when it has no real one."""
    global _instruments  # one per process, like OpenTelemetry's own providers
    from opentelemetry import metrics, trace

    provider: Any = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return False
    if hasattr(provider, "add_span_processor"):
        provider.add_span_processor(_query_redactor())
    meter = metrics.get_meter("graphcap.bridge", version)
    _instruments = _Instruments(
        trace.get_tracer("graphcap.bridge", version),
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
    """Return whether spans are written."""
    return _instruments is not None


def _query_redactor() -> Any:
    """Return a processor that redacts `url.query` in FastAPI's spans (0.165): a caller may put a key there."""
    from opentelemetry.sdk.trace import SpanProcessor

    class QueryRedactor(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            if "url.query" in (span.attributes or {}):
                span.set_attribute("url.query", "REDACTED")

    return QueryRedactor()


@contextmanager
def call_span(request: VisionRequest, attempt: Attempt, run: Run) -> Iterator[Mapping[str, str]]:
    """Span one provider call. Yield the trace headers to send; at the end the span reads `attempt`."""
    if _instruments is None:
        yield run.trace_headers
        return
    from opentelemetry.trace import SpanKind, set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    # Not made the current span: the block may be left in another task than it was entered in.
    span = _instruments.tracer.start_span(
        f"chat {request.model[:_MAX_MODEL]}", kind=SpanKind.CLIENT, attributes=_request_attributes(request, attempt)
    )
    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers, set_span_in_context(span))
    run.trace_id = run.trace_id or trace_id(headers)
    try:
        yield headers
    finally:
        _end(span, attempt)
        _measure(_instruments, attempt)


def _common(attempt: Attempt) -> dict[str, Any]:
    address = urlsplit(attempt.address)
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": _SYSTEMS.get(attempt.kind, attempt.kind),
        **({"server.address": address.hostname} if address.hostname else {}),
        **({"server.port": address.port} if address.port else {}),
    }


def _request_attributes(request: VisionRequest, attempt: Attempt) -> dict[str, Any]:
    options = request.options
    sampling = {
        "gen_ai.request.max_tokens": options.max_tokens,
        "gen_ai.request.temperature": options.temperature,
        "gen_ai.request.top_p": options.top_p,
        "gen_ai.request.seed": options.seed,
    }
    return {
        **_common(attempt),
        "gen_ai.request.model": request.model[:_MAX_MODEL],
        "gen_ai.output.type": "json",
        "graphcap.output_mode": request.output_mode,
        **({"graphcap.again": attempt.reason} if attempt.reason else {}),
        **{name: value for name, value in sampling.items() if value is not None},
    }


def _end(span: "Span", attempt: Attempt) -> None:
    from opentelemetry.trace import StatusCode

    usage = attempt.usage or Usage()
    attributes = {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.response.model": attempt.response_model[:_MAX_MODEL] or None,
    }
    span.set_attributes({name: value for name, value in attributes.items() if value is not None})
    if attempt.outcome in _FINISH_REASONS:
        span.set_attribute("gen_ai.response.finish_reasons", (_FINISH_REASONS[attempt.outcome],))
    if attempt.outcome != "ok":
        span.set_attribute("error.type", attempt.outcome)
        span.set_status(StatusCode.ERROR)
    span.end()


def _measure(instruments: _Instruments, attempt: Attempt) -> None:
    """Record the histograms under the bounded model name: every value of a label is a time series."""
    common = {**_common(attempt), "gen_ai.request.model": attempt.metric_model}
    failed = {} if attempt.outcome == "ok" else {"error.type": attempt.outcome}
    instruments.seconds.record(attempt.seconds, {**common, **failed})
    usage = attempt.usage or Usage()
    for kind, count in (("input", usage.input_tokens), ("output", usage.output_tokens)):
        if count is not None:
            instruments.tokens.record(count, {**common, "gen_ai.token.type": kind})
