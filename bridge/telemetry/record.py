"""The record of one request over HTTP or a WebSocket, and its log line."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bridge.deadline import Deadline
from bridge.run import Reason, Run, total
from bridge.telemetry.tracing import trace_id
from providers.base import Usage

FIELDS = {
    "request_id": "the request's id, as in `X-Request-ID`",
    "method": "`WS` for a WebSocket, and for each request on one",
    "path": "without the query",
    "status": "of the response; on a WebSocket the status as an HTTP request; 499 when the client disconnected",
    "ms": "from the end of the request headers to the end of the response",
    "code": "the code of the problem; for a stream, whose status is 200, the code of the last problem",
    "client": "the caller's address",
    "key": "the name of the caller's API key",
    "trace_id": "the trace that the request belongs to",
    "perspective": "the perspective, or all perspectives of an analysis",
    "provider": "the provider that answered, or was called last",
    "model": "the model that answered, or was called last",
    "output_mode": "how the schema was sent to the model",
    "outcomes": "of an analysis: `ok` or a code for each perspective",
    "queue_ms": "time in the queue of the provider; of an analysis, the longest time of a perspective",
    "calls": "calls to providers",
    "retries": "of these: after a transport failure",
    "reasks": "of these: after an invalid answer",
    "schema_steps": "of these: after a rejected schema",
    "fallbacks": "of these: the first to another target",
    "endpoint": "the endpoints that were called, by the name that `attempts`, `/health` and the metrics use",
    "failed_calls": "outcomes of failed calls",
    "provider_message": "the provider's message about the last failed call, unless `GRAPHCAP_PROVIDER_MESSAGES=hide`",
    "input_tokens": "summed over the calls, where providers report them",
    "output_tokens": "summed over the calls, where providers report them",
    "cached_tokens": "the part of `input_tokens` that was read from a cache",
    "sent_bytes": "of images sent to providers, before base64",
    "image_bytes": "of the image as it was received",
    "stages": "milliseconds of each stage; `model` includes all waiting for providers",
    "requests": "on the line of a WebSocket: the number of requests that were begun",
}
_MAX_VALUE = 200  # characters
_REASONS: dict[Reason, str] = {"retry": "retries", "reask": "reasks", "schema": "schema_steps", "fallback": "fallbacks"}


@dataclass(slots=True)
class RequestRecord:
    """The data of one request for log line, metrics and `Server-Timing`.

    `trace_headers`: the caller's trace context. `wants_caption`: the request is for captions, even if it is rejected.
    `run`: the request's run, None before it begins. `code`: the code of the problem that ended the request. `address`:
    the caller's address or network. `key`: the name of the caller's API key. `requests`: how many requests a WebSocket
    has begun. `headers`: further headers of the response.
    """

    id: str
    trace_headers: dict[str, str] = field(default_factory=dict)
    began: float = field(default_factory=time.perf_counter)
    wants_caption: bool = False
    run: Run | None = None
    code: str = ""
    address: str = ""
    key: str = ""
    status: int = 0
    requests: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    def start_run(self, deadline: Deadline) -> Run:
        """Return the run of this request."""
        self.run = Run(deadline, self.id, caller=self.caller, trace_headers=self.trace_headers)
        return self.run

    @property
    def caller(self) -> str:
        """Return the name under which rate limits and fair queues count the caller."""
        return f"key {self.key}" if self.key else f"address {self.address}"

    @property
    def trace_id(self) -> str:
        """Return the id of the caller's trace or of the first span, "" if there is none."""
        return trace_id(self.trace_headers) or next((run.trace_id for run in self.runs if run.trace_id), "")

    @property
    def runs(self) -> list[Run]:
        if self.run is None:
            return []
        return self.run.children or [self.run]

    @property
    def captions(self) -> list[Run]:
        """Return the runs of captions whose provider is known. Requests such as a list of models have none."""
        return [run for run in self.runs if self.wants_caption and run.provider]

    @property
    def milliseconds(self) -> float:
        return round((time.perf_counter() - self.began) * 1000, 1)

    def end(self) -> None:
        """Set the outcome of each unfinished run: `shutting_down` if this ended the request, otherwise `cancelled`."""
        for run in self.runs:
            run.outcome = run.outcome or ("shutting_down" if self.code == "shutting_down" else "cancelled")

    def server_timing(self) -> str:
        stages = self.run.timings.milliseconds() if self.run else {}
        return ", ".join(f"{stage};dur={ms:.1f}" for stage, ms in {**stages, "total": self.milliseconds}.items())


def log_fields(record: RequestRecord, method: str, path: str, client: str) -> dict[str, Any]:
    """Return the log line's fields that are known and not zero. The fields contain no key, prompt, caption or query."""
    stages = _stages(record)
    known = {
        "code": record.code,
        "client": client,
        "key": record.key,
        "trace_id": record.trace_id,
        **_call_fields(record.runs),
        "requests": record.requests,
        **_caption_fields(record.captions),
        "queue_ms": stages.get("queue"),
        "image_bytes": sum(record.run.image_bytes.values()) if record.run else 0,
        "stages": stages,
    }
    return {
        "request_id": record.id,
        "method": method,
        "path": path[:_MAX_VALUE],
        "status": record.status,
        "ms": record.milliseconds,
        **{name: value for name, value in known.items() if value},
    }


def _call_fields(runs: list[Run]) -> dict[str, Any]:
    calls = [attempt for run in runs for attempt in run.attempts.calls]
    reasons = Counter(attempt.reason for attempt in calls)
    usage = total(attempt.usage for attempt in calls) or Usage()
    messages = [call.provider_message for call in calls if call.provider_message]
    return {
        "provider": _joined(call.provider for call in calls),
        "model": _joined(call.model for call in calls),
        "calls": len(calls),
        **{name: reasons[reason] for reason, name in _REASONS.items()},
        "endpoint": _joined(call.endpoint for call in calls),
        "failed_calls": _joined(call.outcome for call in calls if call.outcome != "ok"),
        "provider_message": messages[-1] if messages and runs[0].provider_messages != "hide" else "",
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_tokens": usage.cached_tokens,
        "sent_bytes": sum(call.sent_bytes for call in calls),
    }


def _caption_fields(captions: list[Run]) -> dict[str, Any]:
    """Return the perspectives and the providers that answered, in the order of the request."""
    if not captions:
        return {}
    return {
        "perspective": _joined(run.perspective for run in captions),
        "provider": _joined(run.provider for run in captions),
        "model": _joined(run.model for run in captions),
        "output_mode": _joined(run.attempts.calls[-1].output_mode for run in captions if run.attempts.calls),
        "outcomes": ",".join(run.outcome for run in captions)[:_MAX_VALUE] if len(captions) > 1 else "",
    }


def _joined(values: Iterable[str]) -> str:
    return ",".join(dict.fromkeys(values))[:_MAX_VALUE]


def _stages(record: RequestRecord) -> dict[str, float]:
    """Return the duration of each stage. For an analysis, use the slowest caption of each stage."""
    stages: dict[str, float] = {}
    for run in record.runs:
        for stage, ms in run.timings.milliseconds().items():
            stages[stage] = max(stages.get(stage, 0.0), ms)
    if record.run is not None:
        stages |= record.run.timings.milliseconds()
    return {stage: round(ms, 1) for stage, ms in stages.items() if stage != "total"}
