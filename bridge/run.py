"""The one object that accompanies a request: its id, its deadline, its provider calls, its timings, its events.

Log line, metrics, spans, `Server-Timing`, `attempts` and `usage` are all read from it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from bridge.deadline import Deadline
from providers.base import OutputMode
from providers.usage import Usage

MAX_ATTEMPTS = 4
"""Provider calls per perspective: the first one, retries, re-asks, mode changes and fallbacks together."""

Stage = Literal["queued", "image", "import", "model", "retry", "fallback", "validate", "synthesis"]
Reason = Literal["", "retry", "reask", "schema", "fallback"]
"""Why a call follows another: a transport failure, an invalid answer, a rejected schema, another target."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A stage of one perspective begins."""

    perspective: str
    stage: Stage
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Partial:
    """The object of one perspective as far as the model has written it."""

    perspective: str
    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reset:
    """What was reported of one perspective's object so far is void: the model is asked again."""

    perspective: str
    reason: str


RunEvent = Progress | Partial | Reset


@dataclass(slots=True)
class Attempt:
    """One provider call: what was asked of whom, and how it ended.

    `provider`, `endpoint` and `model` are shown to the caller; `metric_provider` and `metric_model` are bounded
    label values (the kind and `other` where a caller chose the names). `address`: the endpoint's base URL, "" in
    process. `outcome` is `ok`, `cancelled` while the call runs, or the error's name in snake case.
    `provider_message`: the provider's own words, sanitised. `raw_text`: what the model wrote when it was invalid.
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


@dataclass(slots=True)
class Attempts:
    """Budget and record of the provider calls of one perspective."""

    limit: int = MAX_ATTEMPTS
    made: list[Attempt] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Return how many more calls are allowed."""
        return self.limit - len(self.made)

    @property
    def usage(self) -> Usage | None:
        """Return the tokens of all calls that reported any; None when none did."""
        reported = [attempt.usage for attempt in self.made if attempt.usage is not None]
        return sum(reported[1:], reported[0]) if reported else None

    def warn(self, *warnings: str) -> None:
        """Record each warning once."""
        self.warnings += [warning for warning in warnings if warning not in self.warnings]


class Timings:
    """Wall time of stages in milliseconds, in the order in which they began."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._spent: dict[str, float] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time spent in the block to `stage`."""
        start = time.perf_counter()
        self._spent.setdefault(stage, 0.0)
        try:
            yield
        finally:
            self._spent[stage] += (time.perf_counter() - start) * 1000

    def milliseconds(self) -> dict[str, float]:
        """Return every stage and the `total` so far."""
        total = (time.perf_counter() - self._start) * 1000
        return {name: round(spent, 2) for name, spent in {**self._spent, "total": total}.items()}


def _ignore(event: RunEvent) -> None:
    """Drop the event: nobody streams."""


@dataclass(slots=True)
class Run:
    """One perspective of one request, from plan to caption.

    `emit` never blocks and never raises. `streaming`: whether partial objects are wanted. `perspective` names the
    events. `trace_headers` are the W3C trace context headers that go to providers; `trace_id`: the trace of the first
    span, "" while there is none. `caller` identifies the caller to fair queues and holds no key.
    """

    deadline: Deadline
    request_id: str = ""
    perspective: str = ""
    attempts: Attempts = field(default_factory=Attempts)
    timings: Timings = field(default_factory=Timings)
    emit: Callable[[RunEvent], None] = _ignore
    streaming: bool = False
    trace_headers: dict[str, str] = field(default_factory=dict)
    trace_id: str = ""
    caller: str = ""

    def stage(self, stage: Stage, detail: str = "") -> None:
        """Report that a stage begins."""
        self.emit(Progress(self.perspective, stage, detail))

    def reset(self, stage: Stage, detail: str, reason: str) -> None:
        """Report a stage in which the model is asked again, and that its partial object is void."""
        self.stage(stage, detail)
        self.emit(Reset(self.perspective, reason))
