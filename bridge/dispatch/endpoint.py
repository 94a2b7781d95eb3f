"""One server of a provider: its circuit breaker, its calls in flight, and its rate limits for each key."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf
from typing import Literal

from bridge.config import BreakerSettings, EndpointSettings
from bridge.dispatch.circuit_breaker import CircuitBreaker
from bridge.dispatch.rate_limit import KeyLimits, StartedCall
from providers import errors
from providers.base import Completion, Credentials
from providers.errors import ProviderError

Clock = Callable[[], float]
Verdict = Literal["up", "down", "server_error", "unknown"]
MAX_KEYS = 1024
_GATEWAY_ERRORS = (502, 504)
_ANSWERS = (Completion, errors.Refused, errors.Blocked, errors.Truncated, errors.UnparsableOutput)
_AVOIDED_SECONDS = 5.0
# Errors of one endpoint that another one may not have: its key, its path, its responses. A 5xx may be the request's.
_KEY_ERRORS = (errors.AuthFailed, errors.QuotaExceeded)
_OWN_ERRORS = (*_KEY_ERRORS, errors.WrongPath, errors.BadReply, errors.CallTimeout, errors.Unreachable)
_WORD_START = re.compile(r"(?<=[a-z])(?=[A-Z])")


class Endpoint:
    """One server of a provider. Its state can be lost without harm. `calls` only grows."""

    def __init__(self, settings: EndpointSettings, breaker: BreakerSettings, clock: Clock) -> None:
        self.name = settings.name
        self.weight = settings.weight
        self.settings = settings
        self.config = replace(settings.config, api_key="")
        self.credentials = Credentials(settings.config.api_key)
        self.breaker = CircuitBreaker(breaker.failures, breaker.open_seconds, clock)
        self.in_flight = self.calls = 0
        self._clock = clock
        self._avoided_until = -inf
        self._own_limits = KeyLimits(
            clock,
            settings.max_concurrency,
            requests_per_minute=settings.requests_per_minute,
            tokens_per_minute=settings.tokens_per_minute,
        )
        self._caller_limits = lru_cache(MAX_KEYS)(lambda key_id: KeyLimits(clock, settings.max_concurrency))

    def limits(self, key_id: str) -> KeyLimits:
        """Return the limits for a key, "" for the configured one, which alone has configured windows."""
        return self._caller_limits(key_id) if key_id else self._own_limits

    def is_available(self, key_id: str) -> bool:
        """Return whether breaker, pause and windows allow a call, however many calls are in flight."""
        return self.breaker.admits and self.limits(key_id).wait <= 0

    def has_room(self, key_id: str) -> bool:
        """Return whether a call may start now."""
        limits = self.limits(key_id)
        room = self.in_flight < limits.max_concurrency and limits.in_flight < limits.concurrency
        return room and self.is_available(key_id)

    def wait(self, key_id: str) -> float:
        """Return the seconds until `is_available` because time passes, inf when only an event can change it."""
        return max(self.breaker.wait, self.limits(key_id).wait)

    @property
    def is_avoided(self) -> bool:
        """Return whether other endpoints come first, because the last call failed for this endpoint's own reason.

        Without this rule a server that fails at once has the fewest calls in flight, and gets them all.
        """
        return self.breaker.state == "closed" and self._clock() < self._avoided_until

    def start(self, key_id: str) -> "Admission":
        """Start a call, whose Admission must be ended."""
        self.in_flight += 1
        self.calls += 1
        limits = self.limits(key_id)
        return Admission(self, limits, limits.start(), self.breaker.start(), own_key=not key_id)

    def avoid_after(self, result: Completion | ProviderError) -> None:
        """Avoid the endpoint for some seconds after an error that concerns it alone."""
        self._avoided_until = self._clock() + _AVOIDED_SECONDS if isinstance(result, _OWN_ERRORS) else -inf


@dataclass(frozen=True, slots=True)
class Admission:
    """A call that may start at `endpoint`; `end` must follow. `own_key`: with the endpoint's own key."""

    endpoint: Endpoint
    limits: KeyLimits
    call: StartedCall
    breaker_epoch: int
    own_key: bool

    def end(
        self,
        result: Completion | ProviderError | None,
        *,
        patient: bool = True,
        digests: tuple[bytes, bytes] = (b"", b""),
    ) -> None:
        """End the call: update the breaker and the limits. `result` None: it was cancelled.

        `patient`: the call waited long enough for a timeout to be evidence against the server. `digests` of the image
        and the schema, for a 500 that the request may have caused.
        """
        endpoint, breaker, epoch = self.endpoint, self.endpoint.breaker, self.breaker_epoch
        endpoint.in_flight -= 1
        self.limits.end(self.call, result)
        if result is not None and self.own_key:
            endpoint.avoid_after(result)
        match verdict(result, patient=patient):
            case "up":
                if breaker.trial_running:
                    self.limits.reset_concurrency()
                breaker.succeeded(epoch)
            case "down":
                breaker.failed(epoch, silent=isinstance(result, errors.Unreachable | errors.CallTimeout))
            case "server_error":
                breaker.server_error(epoch, *digests)
            case "unknown":
                breaker.released(epoch)


def verdict(result: Completion | ProviderError | None, *, patient: bool) -> Verdict:
    """Return what the end of a call says about the server.

    Any 4xx and any answer of the model show that it is up. Connection failures, timeouts of a `patient` call and 502,
    503 and 504 show that it is down. Another 500 may be the request's fault. A cancelled call, and a response that was
    cut off, show nothing.
    """
    match result:
        case errors.Unreachable():
            return "down"
        case errors.CallTimeout():
            return "down" if patient else "unknown"
        case errors.Unavailable():
            return "up" if result.status == 408 else "down"
        case errors.ServerFailed():
            return "down" if result.status in _GATEWAY_ERRORS else "server_error"
        case _ if isinstance(result, _ANSWERS) or (result is not None and result.status is not None):
            return "up"
    return "unknown"


def outcome(error: Exception | None) -> str:
    """Return how a call ended: `ok`, or the name of its error's class in snake case."""
    return "ok" if error is None else _WORD_START.sub("_", type(error).__name__).lower()
