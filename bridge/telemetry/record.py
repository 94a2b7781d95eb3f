"""The record of one HTTP request, or of one request on a WebSocket, and the log line that is read from it."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bridge.deadline import Deadline
from bridge.run import Attempt, Run

FIELDS = {
    "request_id": "the request's id, as in `X-Request-ID`",
    "method": "`WS` for a WebSocket, and for each request on one",
    "path": "without the query",
    "status": "of the response; on a WebSocket the status as an HTTP request; 499 when the client disconnected",
    "ms": "from the first byte of the headers to the end of the response",
    "code": "the problem's code; in a stream that of the last one, although the status is 200",
    "client": "the caller's address",
    "key": "the name of the caller's API key",
    "trace_id": "the trace that it belongs to",
    "perspective": "the perspective; of an analysis all of them",
    "provider": "the provider that answered, or was called last",
    "model": "likewise",
    "output_mode": "how the schema was sent to the model",
    "outcomes": "of an analysis: `ok` or a code for each perspective",
    "queue_ms": "waited for a free slot at the provider; of an analysis the longest wait of a perspective",
    "calls": "calls to providers",
    "retries": "of these: after a transport failure",
    "reasks": "of these: after an invalid answer",
    "schema_steps": "of these: after a rejected schema",
    "fallbacks": "of these: the first to another target",
    "endpoint": "the endpoints that were called, by the name that `attempts`, `/health` and the metrics use",
    "failed_calls": "outcomes of failed calls",
    "input_tokens": "summed over the calls, where providers report them",
    "output_tokens": "likewise",
    "cached_tokens": "likewise; included in the input",
    "sent_bytes": "of images sent to providers, before base64",
    "image_bytes": "of the image as it was received",
    "stages": "milliseconds of each stage; `model` includes all waiting for providers",
    "requests": "on a WebSocket's own line: requests that were begun",
}
MAX_VALUE = 200  # characters
_REASONS = {"retry": "retries", "reask": "reasks", "schema": "schema_steps", "fallback": "fallbacks"}
_ENDED_EARLY = ("cancelled", "shutting_down")


@dataclass(slots=True)
class RequestRecord:
    """The data of one request from which log line, metrics and `Server-Timing` are read.

    `wants_caption`: it is a caption or an analysis, even if it is rejected. `run`: its run, once it has one. `code`:
    the problem that it ended in. `key`: the name of the caller's API key. `notes`: further fields of the log line.
    """

    id: str
    trace_headers: dict[str, str] = field(default_factory=dict)
    trace_id: str = ""
    began: float = field(default_factory=time.perf_counter)
    wants_caption: bool = False
    run: Run | None = None
    code: str = ""
    key: str = ""
    status: int = 0
    notes: dict[str, str | int] = field(default_factory=dict)

    def start_run(self, deadline: Deadline, caller: str = "") -> Run:
        """Return the run of this request; `caller` identifies the caller to fair queues."""
        self.run = Run(deadline, self.id, caller=caller, trace_headers=self.trace_headers)
        return self.run

    def note(self, name: str, value: str | None) -> None:
        """Add a field to the log line, unless it is empty."""
        if value:
            self.notes[name] = value[:MAX_VALUE]

    @property
    def runs(self) -> list[Run]:
        """Return the run of each perspective."""
        if self.run is None:
            return []
        return self.run.children or [self.run]

    @property
    def captions(self) -> list[Run]:
        """Return the runs that were planned; a model list or a connection test has none."""
        return [run for run in self.runs if self.wants_caption and run.provider]

    @property
    def milliseconds(self) -> float:
        """Return the time since the request began."""
        return round((time.perf_counter() - self.began) * 1000, 1)

    def end(self) -> None:
        """Give each run that did not finish the outcome that ended the request."""
        for run in self.runs:
            run.outcome = run.outcome or (self.code if self.code in _ENDED_EARLY else _ENDED_EARLY[0])
        if self.run is not None:
            self.trace_id = self.trace_id or next((run.trace_id for run in self.runs if run.trace_id), "")

    def server_timing(self) -> str:
        """Return the value of the header `Server-Timing`."""
        stages = self.run.timings.milliseconds() if self.run else {}
        return ", ".join(f"{stage};dur={ms:.1f}" for stage, ms in {**stages, "total": self.milliseconds}.items())


def log_fields(record: RequestRecord, method: str, path: str, client: str) -> dict[str, Any]:
    """Return the log line: no key, prompt, caption or query, and nothing that is zero or unknown."""
    attempts = [attempt for run in record.runs for attempt in run.attempts.made]
    known = {
        "code": record.code,
        "client": client,
        "key": record.key,
        "trace_id": record.trace_id,
        "provider": _joined(attempt.provider for attempt in attempts),
        "model": _joined(attempt.model for attempt in attempts),
        **record.notes,
        **_caption_fields(record.captions),
        "calls": len(attempts),
        **{name: sum(attempt.reason == reason for attempt in attempts) for reason, name in _REASONS.items()},
        **_call_fields(attempts),
        "image_bytes": sum(record.run.image_bytes.values()) if record.run else 0,
        "stages": _stages(record),
    }
    return {
        "request_id": record.id,
        "method": method,
        "path": path[:MAX_VALUE],
        "status": record.status,
        "ms": record.milliseconds,
        **{name: value for name, value in known.items() if value},
    }


def _caption_fields(runs: list[Run]) -> dict[str, Any]:
    """Return the perspectives, and the providers that answered; several values are in the order of the request."""
    if not runs:
        return {}
    outcomes = [run.outcome for run in runs]
    return {
        "perspective": _joined(run.perspective for run in runs),
        "provider": _joined(run.provider for run in runs),
        "model": _joined(run.model for run in runs),
        "output_mode": _joined(run.attempts.made[-1].output_mode for run in runs if run.attempts.made),
        **({"outcomes": ",".join(outcomes)[:MAX_VALUE]} if len(outcomes) > 1 else {}),
        "queue_ms": round(max(run.timings.milliseconds().get("queue", 0.0) for run in runs), 1),
    }


def _joined(values: Iterable[str]) -> str:
    return ",".join(dict.fromkeys(values))[:MAX_VALUE]


def _call_fields(attempts: list[Attempt]) -> dict[str, Any]:
    usages = [attempt.usage for attempt in attempts if attempt.usage is not None]
    return {
        "endpoint": _joined(attempt.endpoint for attempt in attempts),
        "failed_calls": _joined(attempt.outcome for attempt in attempts if attempt.outcome != "ok"),
        "input_tokens": sum(usage.input_tokens or 0 for usage in usages),
        "output_tokens": sum(usage.output_tokens or 0 for usage in usages),
        "cached_tokens": sum(usage.cached_tokens or 0 for usage in usages),
        "sent_bytes": sum(attempt.sent_bytes for attempt in attempts),
    }


def _stages(record: RequestRecord) -> dict[str, float]:
    """Return the stages of the caption; of an analysis its own, and the slowest of each stage of its captions."""
    stages: dict[str, float] = {}
    for run in record.runs:
        for stage, ms in run.timings.milliseconds().items():
            stages[stage] = max(stages.get(stage, 0.0), ms)
    if record.run is not None and record.run.children:
        stages |= record.run.timings.milliseconds()
    return {stage: round(ms, 1) for stage, ms in stages.items() if stage != "total"}
