"""The endpoints of each provider at work: who gets the next call, and who waits for it, first come first served."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass
from math import inf

from bridge.config import BreakerSettings, Configured, EndpointSettings, ProviderSettings
from bridge.deadline import Deadline, DeadlineExceeded
from bridge.dispatch.legacy.endpoint import Clock, Endpoint, EndpointReport, Entry, Outcome, verdict
from bridge.dispatch.legacy.strategies import Candidate, chooser
from bridge.dispatch.targets import Target
from bridge.errors import CircuitBreakerOpen, QueueFull
from providers.base import Credentials
from providers.errors import CallTimeout, RateLimited, Unreachable

Queued = Callable[[], Awaitable[None]]
_NEVER = BreakerSettings(failures=2**31)
_SOON = 0.001
_FADING = 0.98


@dataclass(frozen=True, slots=True)
class ProviderReport:
    """How one provider stands: `queued` calls wait for its endpoints."""

    provider: str
    queued: int
    endpoints: tuple[EndpointReport, ...]


@dataclass(frozen=True)
class Route:
    """Where the calls of one target may go. `key`: the caller's own, which goes in the place of each endpoint's."""

    endpoints: "Endpoints"
    allowed: tuple[Endpoint, ...]
    key: Credentials | None = None

    @property
    def shared(self) -> bool:
        """Whether the limits of the endpoints' own keys are meant."""
        return self.key is None

    def credentials(self, endpoint: Endpoint) -> Credentials:
        """The key that goes to this endpoint."""
        return endpoint.credentials if self.key is None else self.key

    def likeliest(self) -> Endpoint:
        """One that is likely to answer a question that is no call."""
        return next((one for one in self.allowed if one.breaker.state == "closed"), self.allowed[0])

    def without(self, failed: Collection[Endpoint]) -> list[Endpoint]:
        """Those that did not fail."""
        return [one for one in self.allowed if one not in failed]


@dataclass(slots=True)
class _Waiter:
    """Who waits, and whether for any endpoint of the provider."""

    granted: "asyncio.Future[Entry]"
    route: Route
    failed: Collection[Endpoint]
    deadline: Deadline

    @property
    def waits_for_any(self) -> bool:
        return not self.failed and self.route.shared and len(self.route.allowed) == len(self.route.endpoints.all)


class Endpoints:
    """The endpoints of one provider, and the queue before them."""

    def __init__(
        self,
        name: str,
        fleet: ProviderSettings,
        max_queue: int,
        clock: Clock,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        """`max_queue`: how many may wait. `clock` in seconds; `uniform`: a number from 0 to below 1."""
        self.name = name
        self.all = tuple(Endpoint(one, fleet.breaker, clock) for one in fleet.endpoints)
        self.clock = clock
        self._chooser = chooser(fleet.strategy, uniform)
        self.disabled = fleet.disabled
        self._max_queue = max_queue
        self._waiting: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.slowest = 0.0

    def report(self) -> ProviderReport:
        """How they stand."""
        endpoints = (EndpointReport(one.name, one.breaker.state, one.in_flight, one.calls) for one in self.all)
        return ProviderReport(self.name, len(self._waiting), tuple(endpoints))

    async def enter(self, route: Route, deadline: Deadline, queued: Queued, failed: Collection[Endpoint] = ()) -> Entry:
        """A place for one call at an endpoint that is not among `failed`; `queued` is told when it has to wait.

        Raises CircuitBreakerOpen, QueueFull, DeadlineExceeded; RateLimited where the limits outlast the deadline.
        """
        refusal = self._refusal(route, deadline, failed)
        if refusal is not None:
            raise refusal
        if not self._waiting and (entry := self._begin(route, failed)):
            return entry
        waiter = _Waiter(asyncio.get_running_loop().create_future(), route, failed, deadline)
        self._waiting.append(waiter)
        self.advance()
        # Who would have a place if the limits were known waits for a moment, and not for a full server.
        held_up = sum(one.free for one in route.allowed if one.rate.learning)
        if not waiter.granted.done() and len(self._waiting) > self._max_queue + held_up:
            self._forget(waiter)
            raise QueueFull
        return await self._wait(waiter, queued)

    def took(self, seconds: float) -> None:
        """A call was answered after so long; the slowest of the last ones is remembered."""
        self.slowest = max(seconds, _FADING * self.slowest)

    def leave(self, entry: Entry, outcome: Outcome, *, patient: bool = True, at_fault: bool = False) -> None:
        """The call ended. `outcome` None: nobody waited for it. `patient`: a timeout says something of the server.

        `at_fault`: what went wrong is wrong with this endpoint, and seen by no breaker.
        """
        endpoint, now = entry.endpoint, self.clock()
        endpoint.in_flight -= 1
        answered, broken = verdict(outcome, patient)
        if entry.sent is not None:
            if outcome is not None:  # who left says nothing
                endpoint.heard(now, at_fault=at_fault)
            rate, usage = (outcome.rate, outcome.usage) if outcome else (None, None)
            spent = (usage.input_tokens or 0) + (usage.output_tokens or 0) if usage else None
            endpoint.rate.end(entry.sent, now, rate, spent)
            if isinstance(outcome, RateLimited):
                endpoint.rate.refused(entry.sent, now, outcome.retry_after, outcome.rate)
            elif answered:
                endpoint.rate.taken(entry.sent, now)
        if broken:
            endpoint.breaker.failed(entry.turn, silent=isinstance(outcome, Unreachable | CallTimeout))
        elif answered:
            endpoint.breaker.answered(entry.turn)
        else:
            endpoint.breaker.left(entry.turn)
        self.advance(everybody=isinstance(outcome, RateLimited))

    def advance(self, *, everybody: bool = False) -> None:
        """Let in who can go now; who cannot be served in time is told so. `everybody`: those further back too."""
        if not self._waiting:
            return
        stuck = False  # whether somebody waits for any endpoint: who does too and came later does not pass
        for waiter in list(self._waiting):
            behind = stuck and waiter.waits_for_any
            if waiter.granted.done() or (behind and not everybody):
                continue
            if refusal := self._refusal(waiter.route, waiter.deadline, waiter.failed):
                waiter.granted.set_exception(refusal)
            elif not behind and (entry := self._begin(waiter.route, waiter.failed)):
                waiter.granted.set_result(entry)
            else:
                stuck = stuck or waiter.waits_for_any
        self._waiting = deque(one for one in self._waiting if not one.granted.done())
        self._wake_up()

    def _begin(self, route: Route, failed: Collection[Endpoint]) -> Entry | None:
        """Choose among those with room, and rather one that did well; None when there are none."""
        now = self.clock()
        free = [
            (place, one)
            for place, one in enumerate(self.all)
            if one in route.allowed and one not in failed and one.has_room(now, route.shared)
        ]
        if not free:
            return None
        better = [(place, one) for place, one in free if not one.is_avoided(now)] or free
        candidates = [Candidate(place, one.settings.weight, one.in_flight) for place, one in better]
        endpoint = self.all[candidates[0].place if len(self.all) == 1 else self._chooser.choose(candidates)]
        endpoint.in_flight += 1
        endpoint.calls += 1
        return Entry(endpoint, endpoint.breaker.begin(), endpoint.rate.begin(now) if route.shared else None)

    def _refusal(
        self, route: Route, deadline: Deadline, failed: Collection[Endpoint]
    ) -> CircuitBreakerOpen | RateLimited | None:
        """Why waiting would be in vain."""
        wanted = route.without(failed)
        alive = [one for one in wanted if one.breaker.admits()]
        if not alive:
            return CircuitBreakerOpen(len(wanted), min((one.breaker.next_trial() for one in wanted), default=1.0))
        now = self.clock()
        wait = min(one.rate.limited(now) for one in alive) if route.shared else 0.0
        if wait and wait >= deadline.left():
            return RateLimited(
                f"The provider limits its rate and takes no further request now; try again in {wait:.0f} seconds.",
                retry_after=wait,
            )
        return None

    async def _wait(self, waiter: _Waiter, queued: Queued) -> Entry:
        try:
            if not waiter.granted.done():
                await queued()
            async with asyncio.timeout(waiter.deadline.left()):
                return await waiter.granted
        except BaseException as error:
            self._forget(waiter)
            if isinstance(error, TimeoutError):
                raise DeadlineExceeded(waiter.deadline.seconds, "waiting for a free slot at the provider") from None
            raise

    def _forget(self, waiter: _Waiter) -> None:
        """Who waited is gone; a place that was granted meanwhile goes to the next."""
        granted = waiter.granted
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        if granted.done() and not granted.cancelled() and granted.exception() is None:
            self.leave(granted.result(), None)
        granted.cancel()

    def _wake_up(self) -> None:
        """Look again when a limit or a breaker lets somebody through: an endpoint with a free place tells nobody."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wait = min(map(self._wait_of, self._heads()), default=inf)
        if wait < inf:
            # At least a little: the wait may have ended since it was looked at.
            self._timer = asyncio.get_running_loop().call_later(max(wait, _SOON), self.advance)

    def _heads(self) -> Iterator[_Waiter]:
        """Who may be next: of those that wait for any endpoint the first alone."""
        stuck = False
        for waiter in self._waiting:
            if not (stuck and waiter.waits_for_any):
                yield waiter
            stuck = stuck or waiter.waits_for_any

    def _wait_of(self, waiter: _Waiter) -> float:
        """Seconds until one of its endpoints has room, where time alone makes room; else no end."""
        now, shared = self.clock(), waiter.route.shared
        free = (one for one in waiter.route.without(waiter.failed) if not one.is_full)
        return min((one.wait(now, shared) for one in free), default=inf)


class Registry:
    """Every provider's endpoints, of one process."""

    def __init__(self, configured: Configured, max_queue: int, clock: Clock = time.monotonic) -> None:
        """`max_queue`: how many calls may wait for one provider."""
        self._clock = clock
        self._max_queue = max_queue
        self._of = {name: Endpoints(name, fleet, max_queue, clock) for name, fleet in configured.fleets.items()}

    def of(self, provider: str) -> Endpoints:
        """The endpoints of a configured provider."""
        return self._of[provider]

    def route(self, target: Target) -> Route:
        """Where a target's calls may go. An address that a request brought has no state: it is known to nobody else."""
        endpoints = self._of.get(target.provider)
        if endpoints is None:
            alone = EndpointSettings(target.netloc, target.config)
            endpoints = Endpoints(
                target.label, ProviderSettings((alone,), breaker=_NEVER), self._max_queue, self._clock
            )
            return Route(endpoints, endpoints.all, target.credentials)
        allowed = endpoints.all
        if target.endpoint:
            allowed = tuple(one for one in allowed if one.name == target.endpoint)
        return Route(endpoints, allowed, target.credentials if target.own_key else None)

    def report(self) -> Iterator[ProviderReport]:
        """How every configured provider stands."""
        return (one.report() for one in self._of.values())
