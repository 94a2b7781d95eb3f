"""One server of a provider: its circuit breaker, its calls in flight, and its rate limits for each key."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from math import inf
from typing import Literal

from bridge.config.models import BreakerSettings, EndpointSettings
from bridge.dispatch.circuit_breaker import CircuitBreaker
from bridge.dispatch.clients import schema_digest
from bridge.dispatch.rate_limit import KeyLimits, StartedCall
from providers import errors
from providers.base import Completion, Credentials, VisionRequest
from providers.errors import ProviderError

Clock = Callable[[], float]
Verdict = Literal["up", "down", "server_error", "unknown"]
MAX_KEYS = 1024
_GATEWAY_ERRORS = (502, 504)
_ANSWERS = (Completion, errors.Refused, errors.Blocked, errors.Truncated, errors.UnparsableOutput)
_AVOIDED_SECONDS = 5.0
# Errors caused by one endpoint (its key, path or responses). A 5xx may be caused by the request.
_KEY_ERRORS = (errors.AuthFailed, errors.QuotaExceeded)
_OWN_ERRORS = (*_KEY_ERRORS, errors.WrongPath, errors.BadReply, errors.CallTimeout, errors.Unreachable)
_WORD_START = re.compile(r"(?<=[a-z])(?=[A-Z])")


class Endpoint:
    """One server of a provider. Its state is kept only in memory. `calls`: how many calls were started."""

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
        """Return the limits for a key. Only the endpoint's own key (`key_id` "") has limits per minute."""
        return self._caller_limits(key_id) if key_id else self._own_limits

    def is_available(self, key_id: str) -> bool:
        """Return whether the circuit breaker and the rate limits allow a call. Calls in flight are not considered."""
        return self.wait(key_id) <= 0

    def has_room(self, key_id: str) -> bool:
        """Return whether a call may start now: the endpoint is available and has a free slot."""
        limits = self.limits(key_id)
        room = self.in_flight < limits.max_concurrency and limits.in_flight < limits.concurrency
        return room and self.is_available(key_id)

    def wait(self, key_id: str) -> float:
        """Return the seconds until `is_available` is true, or inf if a trial call or a probe must succeed first."""
        return max(self.breaker.wait, self.limits(key_id).wait)

    @property
    def is_avoided(self) -> bool:
        """Return whether other endpoints are preferred, because this endpoint made the last call fail."""
        # Without this, `least_connections` would prefer a server that fails immediately.
        return self.breaker.state == "closed" and self._clock() < self._avoided_until

    def start(self, key_id: str) -> "Admission":
        """Start a call. The caller must call `end` of the returned Admission."""
        self.in_flight += 1
        self.calls += 1
        limits = self.limits(key_id)
        return Admission(self, limits, limits.start(), self.breaker.start(), own_key=not key_id)

    def avoid_after(self, result: Completion | ProviderError) -> None:
        """Avoid the endpoint for 5 seconds if `result` is an error that only this endpoint can cause."""
        self._avoided_until = self._clock() + _AVOIDED_SECONDS if isinstance(result, _OWN_ERRORS) else -inf


@dataclass(frozen=True, slots=True)
class Admission:
    """The permission to make one call at `endpoint`, with its own key or the caller's, until `end` is called."""

    endpoint: Endpoint
    limits: KeyLimits
    call: StartedCall
    breaker_epoch: int
    own_key: bool

    def end(
        self, result: Completion | ProviderError | None, request: VisionRequest | None = None, *, patient: bool = True
    ) -> None:
        """End the call, and update the circuit breaker and the limits.

        `result`: None if the call was cancelled. `request`: the request of the call, needed if `result` is a 500.
        `patient`: the call waited so long that a timeout shows that the server is down.
        """
        endpoint, breaker, epoch = self.endpoint, self.endpoint.breaker, self.breaker_epoch
        endpoint.in_flight -= 1
        self.limits.end(self.call, result)
        if result is not None and self.own_key:
            endpoint.avoid_after(result)
        match verdict(result, patient=patient):
            case "up":
                if breaker.succeeded(epoch):  # failures, not the load, lowered the limit of concurrent calls
                    self.limits.concurrency = self.limits.max_concurrency
            case "down":
                breaker.failed(epoch, silent=isinstance(result, errors.Unreachable | errors.CallTimeout))
            case "server_error" if request is not None:
                image = sha256(request.image.data if request.image else b"").digest()
                breaker.server_error(epoch, image, schema_digest(request))
            case _:
                breaker.released(epoch)


def verdict(result: Completion | ProviderError | None, *, patient: bool) -> Verdict:
    """Return what a result shows about the server. `patient`: see `Admission.end`.

    "server_error": the request may have caused it. "unknown": the call was cancelled, or the response was cut off.
    """
    match result:
        case errors.Unreachable():
            return "down"
        case errors.CallTimeout():
            return "down" if patient else "unknown"
        case errors.EngineFailed():  # the next call restarts the engine, so the breaker must not open
            return "unknown"
        case errors.Unavailable():
            return "up" if result.status == 408 else "down"
        case errors.ServerFailed():
            return "down" if result.status in _GATEWAY_ERRORS else "server_error"
        case _ if isinstance(result, _ANSWERS) or (result is not None and result.status is not None):
            return "up"
    return "unknown"


def outcome(error: ProviderError) -> str:
    """Return the outcome of a failed call: the class name of its error in snake case."""
    return _WORD_START.sub("_", type(error).__name__).lower()
