"""Call a target: attempts at its endpoints with time limits, retries, failover and records."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from bridge.dispatch.clients import OutputModes
from bridge.dispatch.endpoint import Admission, Endpoint, outcome
from bridge.dispatch.queue import Route
from bridge.errors import AddressRefused, CircuitBreakerOpen, QueueFull
from bridge.run import Attempt, Run
from bridge.telemetry import tracing
from providers import errors
from providers.base import Completion, Delta, VisionRequest
from providers.client import BaseClient
from providers.errors import BadReply, CallTimeout, ProviderError, RateLimited, ServerFailed

Chunks = AsyncGenerator[Delta | Completion]
FAILOVER_ERRORS = (errors.Unreachable, RateLimited, errors.Unavailable, ServerFailed, CallTimeout, BadReply)
"""Errors after which another endpoint is tried, because it may respond normally."""
_MAX_REPEATS = 2
_FIRST_BACKOFF = 0.25
_TOO_LATE = 0.05  # a retry needs at least this time
_PATIENCE = 10.0  # a timeout after at least this time shows that the server is down


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Time limits of one provider call, in seconds.

    `total`: limit of the complete call. `silence`: limit of each wait for the next event, None if unlimited.
    `patient`: whether a timeout counts as a failure of the server. It does after 10 seconds, or after the configured
    limit if that is shorter.
    """

    total: float = 0
    silence: float | None = None
    patient: bool = False


@dataclass(slots=True)
class Retries:
    """The retries of one call.

    `modes`: the remembered output modes; with None, the call begins with the request's mode. `timeout`,
    `attempt_timeout`: if the endpoint sets none. `failed`: not to try now.
    """

    route: Route
    run: Run
    modes: OutputModes | None = None
    timeout: float = 0
    attempt_timeout: float = 0
    failed: list[Endpoint] = field(default_factory=list)
    error: ProviderError | None = None
    repeats: int = 0

    async def enter(self) -> Admission:
        """Wait for a slot at an endpoint. If no endpoint is available after a failed call, raise that call's error."""
        try:
            return await self.route.queue.enter(self.route.without(self.failed), self.run)
        except (CircuitBreakerOpen, QueueFull, RateLimited, CallTimeout) as error:
            if self.error is None:
                raise
            self.error.retry_after = self.error.retry_after or error.retry_after
            raise self.error from None

    def timeouts(self, endpoint: Endpoint) -> Timeouts:
        """Return the time limits of a call to `endpoint`, which leave time for another endpoint or a fallback."""
        left = self.run.deadline.require("waiting for the model")
        limit = endpoint.settings.timeout or self.timeout
        total, silence = min(left, limit or left), None
        if self._has_alternative(endpoint):
            silence = endpoint.settings.attempt_timeout or self.attempt_timeout
            limit = silence or limit
            silence = min(silence or left / 2, total)
        return Timeouts(total, silence, patient=(silence or total) >= min(limit or _PATIENCE, _PATIENCE))

    def _has_alternative(self, endpoint: Endpoint) -> bool:
        """Return whether another endpoint, or a fallback, could be called after a failure at `endpoint`."""
        attempts, others = self.run.attempts, self.route.without([*self.failed, endpoint])
        return (attempts.left_for_target > 1 and others.is_available) or self.run.may_fall_back

    async def wait(self, error: ProviderError, endpoint: Endpoint) -> None:
        """Wait before a retry, unless another endpoint is available. Raise `error` if no retry is allowed."""
        self.error = error
        self.failed.append(endpoint)
        # A refused address stays refused, and resolving it again would give DNS rebinding another chance.
        refused = isinstance(error.__cause__, AddressRefused)
        run = self.run
        if refused or error.begun or run.attempts.left_for_target < 1 or run.deadline.left() < _TOO_LATE:
            raise error
        seconds = 0.0
        if not self.route.without(self.failed).is_available:
            self.repeats += 1
            seconds = _backoff(error, self.repeats)
            if self.repeats > _repeats(error) or seconds >= run.deadline.left():
                raise error
            self.failed.clear()
        run.reset("retry", error.message)
        await asyncio.sleep(seconds)


def _repeats(error: ProviderError) -> int:
    """Return how often a call may be repeated at an endpoint after this error."""
    match error:
        case errors.EngineFailed():
            return 0
        case ServerFailed(status=500):  # the request may be the cause; if the schema may be, its mode is lowered
            return 0 if error.may_be_schema else 1
        case errors.ResponseInterrupted():
            return 1
        case BadReply() | CallTimeout():
            return 0
    return _MAX_REPEATS


def _backoff(error: ProviderError, repeat: int) -> float:
    """Return the seconds to wait before a repeat: the server's hint, or an exponential backoff with jitter."""
    if isinstance(error, RateLimited):
        return 0.0  # wait in the queue instead, where another endpoint may become free
    jitter = random.uniform(0.8, 1.2)  # noqa: S311 (not a secret)
    return error.retry_after or _FIRST_BACKOFF * float(2 ** (repeat - 1)) * jitter


async def make_attempt(
    client: BaseClient, request: VisionRequest, attempt: Attempt, run: Run, timeouts: Timeouts
) -> Chunks:
    """Make one provider call and yield its chunks. Record the outcome in `attempt` and in the call's span."""
    start = time.perf_counter()
    run.attempts.calls.append(attempt)
    with tracing.call_span(request, attempt, run) as headers:
        request = replace(request, headers={**request.headers, **headers})
        try:
            timeouts = await _loaded(client, request, run, timeouts)
            run.stage("model", request.model)
            chunks = _stream(client, request, timeouts) if run.streaming else _complete(client, request, timeouts)
            async with aclosing(chunks):
                async for chunk in chunks:
                    if isinstance(chunk, Completion):
                        attempt.outcome, attempt.usage, attempt.response_model = "ok", chunk.usage, chunk.model
                        attempt.seconds = time.perf_counter() - start
                        attempt.tokens_per_second = chunk.tokens_per_second
                        run.attempts.warn(*chunk.warnings)
                    yield chunk
        except ProviderError as error:
            attempt.outcome, attempt.usage, attempt.status = outcome(error), error.usage, error.status
            attempt.provider_message = error.provider_message
            raise
        finally:
            attempt.seconds = attempt.seconds or time.perf_counter() - start


async def _loaded(client: BaseClient, request: VisionRequest, run: Run, timeouts: Timeouts) -> Timeouts:
    """Load the model if the client itself runs it. Return the remaining time limits for the call."""
    start = time.monotonic()
    if await client.is_loaded(request.model):
        return timeouts
    run.stage("loading model", request.model)
    with run.timings.measure("load"):
        await client.load(request.model, timeouts.total)
    return replace(timeouts, total=max(timeouts.total - (time.monotonic() - start), _TOO_LATE))


async def _complete(client: BaseClient, request: VisionRequest, timeouts: Timeouts) -> Chunks:
    yield await client.complete(replace(request, timeout=timeouts.silence or timeouts.total))


async def _stream(client: BaseClient, request: VisionRequest, timeouts: Timeouts) -> Chunks:
    """Yield the chunks of a streamed call. Empty chunks, which only show that the server responds, are dropped."""
    begun = False
    async with aclosing(client.stream(replace(request, timeout=timeouts.total))) as chunks:
        while True:
            try:
                async with asyncio.timeout(timeouts.silence):
                    chunk = await anext(chunks, None)
            except TimeoutError:
                failure = CallTimeout(f"{client.spec.title} sent nothing for {timeouts.silence:.3g} seconds.")
                failure.begun = begun
                raise failure from None
            if chunk is None:
                raise BadReply(f"{client.spec.title} ended its answer before it was complete.")
            if isinstance(chunk, Completion) or chunk.text:
                begun = True
                yield chunk
            if isinstance(chunk, Completion):
                return
