"""Traces: W3C trace context from the caller, and an OpenTelemetry span and two histograms per provider call.

They follow the semantic conventions for generative AI. Prompts, images and captions are never attributes.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bridge.run import Attempt, Run
from providers.base import Usage, VisionRequest

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram
    from opentelemetry.trace import Span, Tracer

# The conventions' names of providers. Any other kind keeps its own name.
_SYSTEMS = {"gemini": "gcp.gemini"}
_FINISH_REASONS = {"ok": "stop", "truncated": "length", "blocked": "content_filter", "refused": "refusal"}
# The bucket bounds that the conventions recommend.
_TOKEN_BOUNDS = tuple(4**power for power in range(14))
_SECOND_BOUNDS = tuple(0.01 * 2**power for power in range(14))
_MAX_MODEL = 200


def read_headers(parents: Sequence[str], states: Sequence[str]) -> dict[str, str]:
    """Return the trace headers to pass on. `parents`, `states`: the caller's `traceparent` and `tracestate` headers."""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    propagator = TraceContextTextMapPropagator()
    valid: dict[str, str] = {}
    propagator.inject(valid, propagator.extract({"traceparent": parents, "tracestate": states}))
    return valid


def trace_id(headers: Mapping[str, str]) -> str:
    """Return the trace id in trace headers, "" if there is none."""
    return headers.get("traceparent", "")[3:35]


@dataclass(frozen=True, slots=True)
class _Instruments:
    tracer: "Tracer"
    tokens: "Histogram"
    seconds: "Histogram"


_instruments: _Instruments | None = None


def turn_on(version: str) -> None:
    """Write spans to the tracer of the process, if OpenTelemetry is set up."""
    global _instruments  # OpenTelemetry has one tracer provider per process
    from opentelemetry import metrics, trace

    provider: Any = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return
    if hasattr(provider, "add_span_processor"):
        provider.add_span_processor(_query_redactor())
    tracer, meter = trace.get_tracer("graphcap.bridge", version), metrics.get_meter("graphcap.bridge", version)
    create = meter.create_histogram
    tokens = create("gen_ai.client.token.usage", "{token}", explicit_bucket_boundaries_advisory=_TOKEN_BOUNDS)
    seconds = create("gen_ai.client.operation.duration", "s", explicit_bucket_boundaries_advisory=_SECOND_BOUNDS)
    _instruments = _Instruments(tracer, tokens, seconds)


def is_on() -> bool:
    return _instruments is not None


def _query_redactor() -> Any:
    """Return a processor that redacts `url.query` in FastAPI's spans, which may contain a key."""
    from opentelemetry.sdk.trace import SpanProcessor

    class QueryRedactor(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            if "url.query" in (span.attributes or {}):
                span.set_attribute("url.query", "REDACTED")

    return QueryRedactor()


@contextmanager
def call_span(request: VisionRequest, attempt: Attempt, run: Run) -> Iterator[Mapping[str, str]]:
    """Record a span of one provider call. Yield the trace headers to send. The span describes `attempt`."""
    if _instruments is None:
        yield run.trace_headers
        return
    from opentelemetry.trace import SpanKind, set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    # It does not become the current span, because the block may be left in another task than it was entered in.
    span = _instruments.tracer.start_span(
        f"chat {request.model[:_MAX_MODEL]}", kind=SpanKind.CLIENT, attributes=_request_attributes(request, attempt)
    )
    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers, set_span_in_context(span))
    run.trace_id = run.trace_id or trace_id(headers)
    try:
        yield headers
    finally:
        _end(_instruments, span, attempt)


def _common(attempt: Attempt) -> dict[str, Any]:
    address = urlsplit(attempt.address)
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": _SYSTEMS.get(attempt.kind, attempt.kind),
        **({"server.address": address.hostname} if address.hostname else {}),
        **({"server.port": address.port} if address.port else {}),
    }


def _request_attributes(request: VisionRequest, attempt: Attempt) -> dict[str, Any]:
    options = request.options.present()
    options.pop("repetition_penalty", None)  # not in the conventions
    return {
        **_common(attempt),
        "gen_ai.request.model": request.model[:_MAX_MODEL],
        "gen_ai.output.type": "json",
        "graphcap.output_mode": request.output_mode,
        **({"graphcap.again": attempt.reason} if attempt.reason else {}),
        **{f"gen_ai.request.{name}": value for name, value in options.items()},
    }


def _end(instruments: _Instruments, span: "Span", attempt: Attempt) -> None:
    """End the span, and record the histograms under the model's label in metrics."""
    usage = attempt.usage or Usage()
    ended = {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.response.model": attempt.response_model[:_MAX_MODEL] or None,
    }
    span.set_attributes({name: value for name, value in ended.items() if value is not None})
    if attempt.outcome in _FINISH_REASONS:
        span.set_attribute("gen_ai.response.finish_reasons", (_FINISH_REASONS[attempt.outcome],))
    failed = {} if attempt.outcome == "ok" else {"error.type": attempt.outcome}
    span.set_attributes(failed)
    if failed:
        from opentelemetry.trace import StatusCode

        span.set_status(StatusCode.ERROR)
    span.end()
    common = {**_common(attempt), "gen_ai.request.model": attempt.metric_model}
    instruments.seconds.record(attempt.seconds, {**common, **failed})
    for kind, count in (("input", usage.input_tokens), ("output", usage.output_tokens)):
        if count is not None:
            instruments.tokens.record(count, {**common, "gen_ai.token.type": kind})
