"""One endpoint at work: what is known of its health and its limits, and the calls that it has."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import TypeAlias

from bridge.config import BreakerSettings, EndpointSettings
from bridge.dispatch.legacy.breaker import Breaker, State
from bridge.dispatch.legacy.limits import Rate, Sent
from providers.base import Completion, Credentials
from providers.errors import (
    Blocked,
    CallTimeout,
    ProviderError,
    Refused,
    ServerFailed,
    Truncated,
    Unavailable,
    Unreachable,
)

Clock = Callable[[], float]
Outcome: TypeAlias = Completion | ProviderError | None
_AVOIDED_SECONDS = 5.0
_WORD_END = re.compile(r"(?<=[a-z])(?=[A-Z])")


class Endpoint:
    """One server: its breaker, its limits, the calls that it has. What it has learnt can be lost."""

    def __init__(self, settings: EndpointSettings, breaker: BreakerSettings, clock: Clock) -> None:
        self.name = settings.name
        self.settings = settings
        self.config = replace(settings.config, api_key="")
        self.credentials = Credentials(settings.config.api_key)
        self.breaker = Breaker(breaker.failures, breaker.open_seconds, clock)
        learns = bool(settings.config.base_url)  # builtin has no limits to tell of
        self.rate = Rate(settings.requests_per_minute, settings.tokens_per_minute, learns=learns)
        self.in_flight = self.calls = 0
        self._avoided_until = -inf

    def heard(self, now: float, *, at_fault: bool) -> None:
        """Note how a call with the endpoint's own key ended: what is wrong with it alone may go better elsewhere."""
        self._avoided_until = now + _AVOIDED_SECONDS if at_fault else -inf

    def is_avoided(self, now: float) -> bool:
        """Whether others are better just now. A breaker that opened decides by itself when it is tried again."""
        return now < self._avoided_until and self.breaker.state == "closed"

    @property
    def free(self) -> float:
        """How many calls it takes beside those that it has; without an end where nothing bounds them."""
        at_once = self.settings.max_concurrency
        return inf if at_once is None else max(at_once - self.in_flight, 0)

    @property
    def is_full(self) -> bool:
        """Whether it has as many calls as it takes at once."""
        return self.free < 1

    def has_room(self, now: float, shared: bool) -> bool:
        """Whether a call may begin now; `shared`: one with the endpoint's own key, which has the limits."""
        return not self.is_full and self.is_ready(now, shared)

    def is_ready(self, now: float, shared: bool) -> bool:
        """The same, however many calls it has."""
        return self.breaker.admits() and not (shared and self.rate.wait(now) > 0)

    def wait(self, now: float, shared: bool) -> float:
        """Seconds until it is, when nothing else happens."""
        return max(self.breaker.wait(), self.rate.wait(now) if shared else 0.0)


@dataclass(slots=True)
class Entry:
    """A call that may begin at `endpoint`; it has to leave again."""

    endpoint: Endpoint
    turn: int
    sent: Sent | None


@dataclass(frozen=True, slots=True)
class EndpointReport:
    """How one endpoint stands. `calls` only grows."""

    endpoint: str
    breaker: State
    in_flight: int
    calls: int


def verdict(outcome: Outcome, patient: bool) -> tuple[bool, bool]:
    """Whether the server answered, and whether it is broken; neither where the outcome does not tell.

    A 4xx is an answer, and so is a refusal; a reply that broke off, or a client that left, says nothing.
    """
    if isinstance(outcome, Unreachable | ServerFailed | CallTimeout | Unavailable):
        broken = patient if isinstance(outcome, CallTimeout) else outcome.status != 408
        return outcome.status == 408, broken
    answers = (Completion, Refused, Blocked, Truncated)
    return isinstance(outcome, answers) or (outcome is not None and outcome.status is not None), False


def outcome(error: Exception | None) -> str:
    """How a call ended: `ok`, or its error's name."""
    return "ok" if error is None else _WORD_END.sub("_", type(error).__name__).lower()
