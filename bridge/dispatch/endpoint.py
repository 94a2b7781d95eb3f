"""One server of a provider: its circuit breaker, its calls in flight, and its rate limits for each key."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Literal

from bridge.config import BreakerSettings, EndpointSettings
from bridge.dispatch.circuit_breaker import BreakerState, CircuitBreaker
from bridge.dispatch.lru import LruDict
from bridge.dispatch.rate_limit import KeyLimits, StartedCall
from providers.base import Completion, Credentials
from providers.errors import (
    AuthFailed,
    BadReply,
    Blocked,
    CallTimeout,
    ProviderError,
    QuotaExceeded,
    Refused,
    ServerFailed,
    Truncated,
    Unavailable,
    UnparsableOutput,
    Unreachable,
    WrongPath,
)

Clock = Callable[[], float]
Verdict = Literal["up", "down", "server_error", "unknown"]
MAX_KEYS = 1024
_GATEWAY_ERRORS = (502, 504)
_ANSWERS = (Completion, Refused, Blocked, Truncated, UnparsableOutput)
_AVOIDED_SECONDS = 5.0
# Errors of one endpoint that another one may not have: its key, its path, its responses. A 5xx may be the request's.
_OWN_ERRORS = (AuthFailed, QuotaExceeded, WrongPath, BadReply, CallTimeout, Unreachable)
_WORD_START = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Result:
    """How a call ended. `value` None: it was cancelled.

    `patient`: the call waited long enough for a timeout to be evidence against the server. `digests` of the image and
    the schema, for a 500 that the request may have caused.
    """

    value: Completion | ProviderError | None
    patient: bool = True
    digests: tuple[bytes, bytes] = (b"", b"")


@dataclass(frozen=True, slots=True)
class EndpointReport:
    """The state of one endpoint. `calls` only grows."""

    endpoint: str
    breaker: BreakerState
    in_flight: int
    calls: int


class Endpoint:
    """One server of a provider. Its state can be lost without harm."""

    def __init__(self, settings: EndpointSettings, breaker: BreakerSettings, clock: Clock) -> None:
        self.name = settings.name
        self.settings = settings
        self.config = replace(settings.config, api_key="")
        self.credentials = Credentials(settings.config.api_key)
        self.breaker = CircuitBreaker(breaker.failures, breaker.open_seconds, clock)
        self.in_flight = self.calls = 0
        self._clock = clock
        self._avoided_until = -inf
        self._own_limits = KeyLimits(
            clock,
            max_concurrency=settings.max_concurrency,
            requests_per_minute=settings.requests_per_minute,
            tokens_per_minute=settings.tokens_per_minute,
        )
        self._caller_limits: LruDict[str, KeyLimits] = LruDict(MAX_KEYS)

    def limits(self, key_id: str) -> KeyLimits:
        """Return the limits for a key, "" for the configured one, which alone has configured windows."""
        if not key_id:
            return self._own_limits
        limits = self._caller_limits.get(key_id)
        if limits is None:
            limits = KeyLimits(self._clock, max_concurrency=self.settings.max_concurrency)
            self._caller_limits.set(key_id, limits)
        return limits

    def is_available(self, key_id: str) -> bool:
        """Return whether breaker, pause and windows allow a call, however many calls are in flight."""
        return self.breaker.admits and not self.limits(key_id).wait

    def has_room(self, key_id: str) -> bool:
        """Return whether a call may start now."""
        maximum = self.settings.max_concurrency
        if maximum is not None and self.in_flight >= maximum:
            return False
        return self.limits(key_id).concurrency.has_room and self.is_available(key_id)

    def wait(self, key_id: str) -> float:
        """Return the seconds until `is_available` because time passes, inf when only an event can change it."""
        return max(self.breaker.wait, self.limits(key_id).wait)

    @property
    def is_avoided(self) -> bool:
        """Return whether other endpoints come first: the last call with the configured key failed a moment ago."""
        return self.breaker.state == "closed" and self._clock() < self._avoided_until

    def record(self, result: Completion | ProviderError) -> None:
        """Avoid the endpoint for some seconds after an error that concerns it alone."""
        failed = isinstance(result, _OWN_ERRORS)
        self._avoided_until = self._clock() + _AVOIDED_SECONDS if failed else -inf

    def report(self) -> EndpointReport:
        """Return the endpoint's state."""
        return EndpointReport(self.name, self.breaker.state, self.in_flight, self.calls)


@dataclass(frozen=True, slots=True)
class Admission:
    """A call that may start at `endpoint`; `end` must follow."""

    endpoint: Endpoint
    limits: KeyLimits
    call: StartedCall
    breaker_epoch: int

    @classmethod
    def start(cls, endpoint: Endpoint, key_id: str) -> "Admission":
        """Start a call."""
        endpoint.in_flight += 1
        endpoint.calls += 1
        limits = endpoint.limits(key_id)
        return cls(endpoint, limits, limits.start(), endpoint.breaker.start())

    def end(self, result: Result) -> None:
        """End the call: update the breaker and the limits."""
        self.endpoint.in_flight -= 1
        self.limits.end(self.call, result.value)
        if result.value is not None and self.limits is self.endpoint.limits(""):
            self.endpoint.record(result.value)
        breaker, epoch = self.endpoint.breaker, self.breaker_epoch
        match verdict(result.value, patient=result.patient):
            case "up":
                if breaker.trial_running:
                    self.limits.concurrency.reset()
                breaker.succeeded(epoch)
            case "down":
                silent = isinstance(result.value, Unreachable | CallTimeout)
                breaker.failed(epoch, probe_would_fail=silent)
            case "server_error":
                breaker.server_error(epoch, *result.digests)
            case "unknown":
                breaker.released(epoch)


def verdict(result: Completion | ProviderError | None, *, patient: bool) -> Verdict:
    """Return what the end of a call says about the server.

    Any 4xx and any answer of the model show that it is up. Connection failures, timeouts of a `patient` call and 502,
    503 and 504 show that it is down. Another 500 may be the request's fault. A cancelled call, and a response that was
    cut off, show nothing.
    """
    if isinstance(result, Unreachable):
        return "down"
    if isinstance(result, CallTimeout):
        return "down" if patient else "unknown"
    if isinstance(result, Unavailable):
        return "up" if result.status == 408 else "down"
    if isinstance(result, ServerFailed):
        return "down" if result.status in _GATEWAY_ERRORS else "server_error"
    if isinstance(result, _ANSWERS) or (result is not None and result.status is not None):
        return "up"
    return "unknown"


def outcome(error: Exception | None) -> str:
    """Return how a call ended: `ok`, or the name of its error's class in snake case."""
    return "ok" if error is None else _WORD_START.sub("_", type(error).__name__).lower()
