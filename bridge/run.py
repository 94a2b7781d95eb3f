"""The state of a request: its id, deadline, provider calls, timings and events. Log, metrics and responses use it."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from bridge.deadline import Deadline
from providers.base import OutputMode, Usage

MAX_ATTEMPTS = 4  # maximum provider calls per perspective, including retries, re-asks, mode changes and fallbacks
INVALID_ANSWER = "invalid_answer"  # outcome of a call whose answer failed validation
MAX_RAW_TEXT = 500

Stage = Literal["queued", "image", "import", "loading model", "model", "retry", "fallback", "validate", "synthesis"]
Reason = Literal["", "retry", "reask", "schema", "fallback"]  # why the call is not the first one
ProviderMessages = Literal["show", "log", "hide"]
"""Where the provider's message about a failure appears: in responses and the log, only in the log, or nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A stage of one perspective begins, and the stage before it ends. Each provider call begins a stage `model`."""

    type: Literal["progress"] = "progress"
    id: str
    perspective: str
    stage: Stage
    detail: str = ""


@dataclass(slots=True, kw_only=True)
class PartialEvent:
    """The part of the object that the model has written so far, not validated. It replaces earlier parts."""

    type: Literal["partial"] = "partial"
    id: str
    perspective: str
    result: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """Discard the partial objects so far, because the model is called again."""

    type: Literal["reset"] = "reset"
    id: str
    perspective: str
    reason: str


@dataclass(slots=True)
class Attempt:
    """One provider call: its target, its reason and its outcome.

    `metric_provider`, `metric_model`: names in metrics, which no caller chose. `address`: the endpoint's base URL, ""
    for a provider in this process. `outcome`: `ok`, `cancelled` while the call runs, or the error's name in snake case.
    `provider_message`: sanitised. `raw_text`: the text of an invalid answer.
    """

    provider: str
    endpoint: str
    model: str
    output_mode: OutputMode
    reason: Reason = ""
    kind: str = ""
    metric_provider: str = ""
    metric_model: str = ""
    address: str = ""
    sent_bytes: int = 0
    outcome: str = "cancelled"
    seconds: float = 0.0
    status: int | None = None
    provider_message: str = ""
    raw_text: str = ""
    response_model: str = ""
    usage: Usage | None = None
    tokens_per_second: float | None = None

    @property
    def ms(self) -> float:
        return round(self.seconds * 1000, 1)


@dataclass(slots=True)
class Attempts:
    """The provider calls of one perspective. `limit`: how many are allowed, of which `reserve` are for fallbacks."""

    limit: int = MAX_ATTEMPTS
    reserve: int = 0
    calls: list[Attempt] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Return how many more calls may be made, including those that are kept for fallbacks."""
        return self.limit - len(self.calls)

    @property
    def left_for_target(self) -> int:
        """Return how many more calls may be made to the current target."""
        return self.left - self.reserve

    @property
    def usage(self) -> Usage | None:
        """Return the tokens of all calls, or None if no call reported its usage."""
        return total(attempt.usage for attempt in self.calls)

    def reject_last(self, text: str) -> None:
        """Record that the answer of the last call failed validation. `text`: the model's text."""
        self.calls[-1].outcome = INVALID_ANSWER
        self.calls[-1].raw_text = text[:MAX_RAW_TEXT]

    def warn(self, *warnings: str) -> None:
        """Record each warning once."""
        self.warnings += [warning for warning in warnings if warning not in self.warnings]


def total(usages: Iterable[Usage | None]) -> Usage | None:
    """Return the sum of the known usages, or None if no usage is known."""
    known = [usage for usage in usages if usage is not None]
    return sum(known[1:], known[0]) if known else None


class Timings:
    """Measures the wall time of stages in milliseconds. The stages are kept in order of their start."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._end: float | None = None
        self._spent: dict[str, float] = {}

    def stop(self) -> None:
        self._end = time.perf_counter()

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the duration of the `with` block to the time of `stage`."""
        start = time.perf_counter()
        self._spent.setdefault(stage, 0.0)
        try:
            yield
        finally:
            self._spent[stage] += (time.perf_counter() - start) * 1000

    def milliseconds(self) -> dict[str, float]:
        """Return the milliseconds of every stage so far, and the `total`."""
        total = ((self._end or time.perf_counter()) - self._start) * 1000
        return {name: round(spent, 2) for name, spent in {**self._spent, "total": total}.items()}


@dataclass(slots=True)
class Run:
    """The state of one perspective of a request, or of an analysis, whose perspectives are its `children`.

    `emit`: receives events, and neither blocks nor raises (None: no stream). `streaming`: whether to report partial
    objects. `id` and `perspective` are those of the events. `caller` identifies the caller to fair queues and contains
    no key. `trace_headers`: the W3C trace context headers for providers. `trace_id`: the trace of the first span, ""
    before it. `provider`, `model`: the current or last target. `is_fallback`: another target failed before.
    `has_fallback`: another target is called after any failure. `perspective_label`, `provider_label`: labels in
    metrics. `outcome`: `ok` or the code of the problem, "" while the run is not finished. `image_bytes`: size of the
    image as it was received, by source. `provider_messages`: where providers' messages may appear.
    """

    deadline: Deadline
    request_id: str = ""
    perspective: str = ""
    attempts: Attempts = field(default_factory=Attempts)
    timings: Timings = field(default_factory=Timings)
    emit: Callable[[Any], None] | None = None
    streaming: bool = False
    trace_headers: dict[str, str] = field(default_factory=dict)
    trace_id: str = ""
    caller: str = ""
    id: str = ""
    provider: str = ""
    model: str = ""
    perspective_label: str = "unknown"
    provider_label: str = "none"
    is_fallback: bool = False
    has_fallback: bool = False
    outcome: str = ""
    image_bytes: dict[str, int] = field(default_factory=dict)
    provider_messages: ProviderMessages = "show"
    children: "list[Run]" = field(default_factory=list)

    def child(self, perspective: str, label: str) -> "Run":
        """Create the run of one perspective. The child shares deadline, events and trace. `label`: name in metrics."""
        child = replace(
            self,
            perspective=perspective,
            perspective_label=label,
            attempts=Attempts(),
            timings=Timings(),
            image_bytes={},
            children=[],
        )
        self.children.append(child)
        return child

    @property
    def usage(self) -> Usage | None:
        """Return the tokens of all calls, including the calls of the children."""
        return total([self.attempts.usage, *(child.attempts.usage for child in self.children)])

    @property
    def may_fall_back(self) -> bool:
        """Return whether another target can be called after the next call."""
        return self.has_fallback and self.attempts.left > 1

    def stage(self, stage: Stage, detail: str = "") -> None:
        if self.emit is not None:
            self.emit(Progress(id=self.id, perspective=self.perspective, stage=stage, detail=detail))

    def partial(self, result: dict[str, Any]) -> None:
        """Report the part of the object that the model has written so far."""
        if self.emit is not None:
            self.emit(PartialEvent(id=self.id, perspective=self.perspective, result=result))

    def reset(self, stage: Stage, reason: str, *, target: str = "") -> None:
        """Report that the model is called again. Earlier partial objects must be discarded. `target`: of a fallback."""
        self.stage(stage, target or reason)
        if self.emit is not None:
            self.emit(Reset(id=self.id, perspective=self.perspective, reason=reason))
