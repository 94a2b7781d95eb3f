"""Asking again when the line failed, at another endpoint first, and keeping count: at most four calls a perspective."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from bridge.deadline import Deadline
from bridge.dispatch.legacy.endpoint import Endpoint, Entry, outcome
from bridge.dispatch.legacy.endpoints import Route
from bridge.errors import CircuitBreakerOpen, QueueFull
from bridge.network import AddressRefused
from providers.base import LADDER, Complete, Completion, OutputMode, VisionRequest, lowest
from providers.errors import (
    AuthFailed,
    BadReply,
    CallTimeout,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    ServerFailed,
    Unavailable,
    UnknownModel,
    Unreachable,
    WrongPath,
)
from providers.usage import Usage

MAX_CALLS = 4
_RETRIES = 2
_FIRST_WAIT = 0.25
_TOO_LATE = 0.05  # seconds in which no call comes to an end
_PATIENCE = 10.0  # seconds after which silence says something of a server whose calls have no bound of their own
_AS_SLOW = 4
_ITS_OWN = (AuthFailed, QuotaExceeded, WrongPath, BadReply)  # its key, its path, what it says
_CURABLE = (Unreachable, RateLimited, Unavailable, ServerFailed, CallTimeout)

Again = Callable[[str], Awaitable[None]]
"""Told, with the reason, that a call is made again."""


async def _unwatched(reason: str) -> None:
    """Nobody wants to know."""


def _strictly(endpoint: Endpoint) -> OutputMode:
    """Nothing is known of what an endpoint rejects."""
    return LADDER[0]


async def _nobody_waits() -> None:
    """Nobody wants to know that a call has to wait."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call that was made. `outcome` is `ok` or its error's name; `ms` is its wall time."""

    provider: str
    endpoint: str
    model: str
    output_mode: OutputMode
    outcome: str
    ms: float


@dataclass
class Calls:
    """The calls made for one perspective: how many are left, what they cost, what the providers remarked."""

    limit: int = MAX_CALLS
    made: list[Call] = field(default_factory=list)
    usage: Usage | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def left(self) -> int:
        """How many more calls are allowed."""
        return self.limit - len(self.made)

    def spend(self, usage: Usage | None) -> None:
        """Add what a call cost; one that was answered and told nothing makes the sum unknown."""
        if usage is not None:
            self.usage = usage if self.usage is None else self.usage + usage

    def warn(self, warnings: tuple[str, ...]) -> None:
        """Keep each remark once."""
        self.warnings += [one for one in warnings if one not in self.warnings]


@dataclass(frozen=True)
class Line:
    """The line to one target: retries what a repeat may cure, within the deadline and the calls left.

    `at` gives the way to ask one endpoint, `mode` the highest rung that it is asked with. `reserve` is how many calls
    must stay for later targets; `spare`: whether one of them is asked when nobody answers here. `timeout` bounds one
    call in seconds where its endpoint does not; 0: what is left. `again` is told before each repeat, `queued` when a
    call has to wait for an endpoint.
    """

    provider: str
    route: Route
    at: Callable[[Endpoint], Awaitable[Complete]]
    calls: Calls
    deadline: Deadline
    timeout: float = 0
    reserve: int = 0
    spare: bool = False
    again: Again = _unwatched
    queued: Callable[[], Awaitable[None]] = _nobody_waits
    mode: Callable[[Endpoint], OutputMode] = _strictly

    async def ask(self, request: VisionRequest) -> Completion:
        """Ask until answered. Raises ProviderError, DeadlineExceeded or ProviderUnavailable."""
        failed: list[Endpoint] = []
        failure: ProviderError | None = None
        repeats = 0
        try:
            while True:
                entry = await self._enter(failed, failure)
                try:
                    return await self._call(entry, request, [*failed, entry.endpoint])
                except (*_CURABLE, BadReply) as error:
                    failure = error
                failed.append(entry.endpoint)
                # A refused address stays refused, and another look-up would be another try at rebinding.
                refused = isinstance(failure.__cause__, AddressRefused)
                if refused or failure.begun or self.calls.left <= self.reserve or self.deadline.left() < _TOO_LATE:
                    raise failure
                elsewhere = self._is_ready_elsewhere(failed)
                if isinstance(failure, BadReply) and not elsewhere:
                    raise failure
                wait = 0.0 if elsewhere else self._wait(failure, repeats)
                if not elsewhere:
                    repeats += 1
                    hopeless = isinstance(failure, CallTimeout) or repeats > _RETRIES
                    if hopeless or wait >= self.deadline.left():
                        raise failure
                    failed.clear()
                await self.again(failure.message)
                if wait:
                    await asyncio.sleep(wait)
        finally:
            failure = None  # its traceback holds this frame, and that the picture: nobody but gc would free them

    async def _enter(self, failed: list[Endpoint], failure: ProviderError | None) -> Entry:
        """A place for a call. Where there is none any more, what went wrong before says more."""
        try:
            return await self.route.endpoints.enter(self.route, self.deadline, self.queued, failed)
        except (CircuitBreakerOpen, QueueFull, RateLimited) as error:
            if failure is None:
                raise
            failure.retry_after = failure.retry_after or error.retry_after
        try:
            raise failure
        finally:
            failure = None  # as above

    def _is_ready_elsewhere(self, failed: list[Endpoint]) -> bool:
        now = self.route.endpoints.clock()
        return any(one.is_ready(now, self.route.shared) for one in self.route.without(failed))

    def _wait(self, error: ProviderError, repeat: int) -> float:
        """Seconds until the next try: what the server asked for, else doubling with jitter."""
        if isinstance(error, RateLimited) and self.route.shared:
            return 0.0  # who waits for the limits of an endpoint does so in its queue, and goes where one ends first
        if error.retry_after:
            return error.retry_after
        return _FIRST_WAIT * float(2**repeat) * random.uniform(0.8, 1.2)  # noqa: S311 (jitter, not a secret)

    def _share(self, left: float, tried: list[Endpoint]) -> float:
        """Seconds of what is left for one call: where somebody else can be asked, a hang must not take all of it.

        Half of it, but never so little that a call would end that is as slow as four of the last ones. As long as none
        was answered, only a later target makes it less, by a third.
        """
        elsewhere = self.calls.left - 1 > self.reserve and self._is_ready_elsewhere(tried)
        slowest = self.route.endpoints.slowest
        if slowest and (elsewhere or self.spare):
            return min(left * 4 / 5, max(left / 2, _AS_SLOW * slowest))  # the others keep some, however slow it is
        return left * 2 / 3 if self.spare else left

    async def _call(self, entry: Entry, request: VisionRequest, tried: list[Endpoint]) -> Completion:
        endpoint = entry.endpoint
        bound = endpoint.settings.timeout or self.timeout
        end: Completion | ProviderError | None = None
        allowance, shortened = 0.0, False
        try:
            left = self.deadline.require("waiting for the model")
            # Who set a bound knows how slow it may be, and a timeout after less says nothing to the breaker.
            allowance = bound if 0 < bound <= left else self._share(left, tried)
            shortened = allowance < min(left, bound or left)
            request = replace(
                request,
                timeout=allowance,
                credentials=self.route.credentials(endpoint),
                output_mode=lowest(request.output_mode, self.mode(endpoint)),
            )
            end = completion = await self._timed(endpoint, await self.at(endpoint), request)
        except ProviderError as error:
            end = error
            if isinstance(error, CallTimeout) and shortened:
                self.route.endpoints.took(allowance / (_AS_SLOW - 1))  # it may only be slow: the next has a third more
            raise
        finally:
            patient = allowance >= (bound or _PATIENCE)
            at_fault = self._is_at_fault(end, endpoint, request.model, patient or self._is_long(allowance))
            self.route.endpoints.leave(entry, end, patient=patient, at_fault=at_fault)
            end = None  # as above
        self.calls.spend(completion.usage or Usage())
        self.calls.warn(completion.warnings)
        return completion

    def _is_long(self, allowance: float) -> bool:
        """Whether an answer would have come within it, by what the last ones took."""
        slowest = self.route.endpoints.slowest
        return 0 < slowest * _AS_SLOW <= allowance

    @staticmethod
    def _is_at_fault(end: Completion | ProviderError | None, endpoint: Endpoint, model: str, long: bool) -> bool:
        """Whether another endpoint may do better. A short time, or a model that nobody listed, is the caller's own."""
        if isinstance(end, UnknownModel):
            return model in (endpoint.config.default_model, *endpoint.config.models)
        return long if isinstance(end, CallTimeout) else isinstance(end, _ITS_OWN)

    async def _timed(self, endpoint: Endpoint, ask: Complete, request: VisionRequest) -> Completion:
        start = time.perf_counter()
        told = outcome(None)
        try:
            completion = await ask(request)
            self.route.endpoints.took(time.perf_counter() - start)
            return completion
        except ProviderError as failed:
            told = outcome(failed)
            self.calls.spend(failed.usage)
            raise
        finally:
            ms = (time.perf_counter() - start) * 1000
            self.calls.made.append(Call(self.provider, endpoint.name, request.model, request.output_mode, told, ms))
