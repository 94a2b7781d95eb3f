"""Transport retries and failover of one call: when, where, and how often."""

import asyncio
import random
from dataclasses import dataclass, field

from bridge.dispatch.endpoint import Admission, Endpoint
from bridge.dispatch.queue import Route
from bridge.errors import CircuitBreakerOpen, QueueFull
from bridge.network import AddressRefused
from bridge.run import INVALID_ANSWER, Reason, Run
from providers.base import OutputMode
from providers.errors import (
    BadReply,
    CallTimeout,
    ProviderError,
    RateLimited,
    ResponseInterrupted,
    ServerFailed,
    Unavailable,
    Unreachable,
)

FAILOVER_ERRORS = (Unreachable, RateLimited, Unavailable, ServerFailed, CallTimeout, BadReply)
"""Errors that another endpoint may not have."""
_MAX_REPEATS = 2
_FIRST_BACKOFF = 0.25
_TOO_LATE = 0.05  # seconds in which no call can finish
_ANSWERED = ("ok", INVALID_ANSWER, "unparsable_output")


@dataclass(slots=True)
class Retries:
    """The state of one call to a target. `reserve`: calls to keep for fallbacks, `has_fallback`: one follows."""

    route: Route
    run: Run
    reserve: int = 0
    has_fallback: bool = False
    failed: list[Endpoint] = field(default_factory=list)
    error: ProviderError | None = None
    repeats: int = 0

    async def enter(self) -> Admission:
        """Wait for a slot. When there is none after a failed call, that failure is raised: it says more."""
        run, queue = self.run, self.route.queue
        try:
            waiter = queue.join(self.route, run.caller, run.deadline, tuple(self.failed))
            if isinstance(waiter, Admission):
                return waiter
            run.stage("queued")
            with run.timings.measure("queue"):
                return await queue.wait(waiter)
        except (CircuitBreakerOpen, QueueFull, RateLimited) as error:
            if self.error is None:
                raise
            self.error.retry_after = self.error.retry_after or error.retry_after
            raise self.error from None

    def has_alternative(self, endpoint: Endpoint) -> bool:
        """Return whether another endpoint, or a fallback, could be called after a failure at `endpoint`."""
        left = self.run.attempts.left - 1
        elsewhere = left > self.reserve and self.route.is_available([*self.failed, endpoint])
        return elsewhere or (self.has_fallback and left > 0)

    async def wait(self, error: ProviderError, endpoint: Endpoint) -> None:
        """Wait until the call may be retried, 0 seconds for another endpoint. Raise the error when it may not be."""
        self.error = error
        self.failed.append(endpoint)
        # A refused address stays refused, and resolving it again would give DNS rebinding another chance.
        refused = isinstance(error.__cause__, AddressRefused)
        run = self.run
        if refused or error.begun or run.attempts.left <= self.reserve or run.deadline.left() < _TOO_LATE:
            raise error
        seconds = 0.0
        if not self.route.is_available(self.failed):
            self.repeats += 1
            seconds = _backoff(error, self.repeats)
            if self.repeats > _repeats(error) or seconds >= run.deadline.left():
                raise error
            self.failed.clear()
        run.reset("retry", error.message, error.message)
        await asyncio.sleep(seconds)

    def reason(self, label: str, model: str, output_mode: OutputMode) -> Reason:
        """Return why the next call follows the last one of the run."""
        if not self.run.attempts.calls:
            return "fallback" if self.run.is_fallback else ""
        last = self.run.attempts.calls[-1]
        if (last.provider, last.model) != (label, model):
            return "fallback"
        if last.outcome in _ANSWERED:
            return "reask"
        return "retry" if last.output_mode == output_mode else "schema"


def _repeats(error: ProviderError) -> int:
    """Return how often a call that failed so may be repeated at the same endpoint.

    A 500 may be the request's fault, so it is repeated once; never where the schema may be the cause, which a less
    strict output mode avoids.
    """
    if isinstance(error, ServerFailed) and error.status == 500:
        return 0 if error.may_be_schema else 1
    if isinstance(error, BadReply):
        return 1 if isinstance(error, ResponseInterrupted) else 0
    return 0 if isinstance(error, CallTimeout) else _MAX_REPEATS


def _backoff(error: ProviderError, repeat: int) -> float:
    """Return the seconds before a repeat: the server's hint, else an exponential backoff with jitter.

    After a 429 the call waits in the queue, where another endpoint may be free earlier.
    """
    if isinstance(error, RateLimited):
        return 0.0
    if error.retry_after:
        return error.retry_after
    return _FIRST_BACKOFF * float(2 ** (repeat - 1)) * random.uniform(0.8, 1.2)  # noqa: S311 (jitter, not a secret)
