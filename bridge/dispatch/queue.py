"""The endpoints of a provider and the queue in front of them: bounded, and fair by caller."""

import asyncio
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import inf

from bridge.config import ProviderSettings
from bridge.deadline import Deadline, DeadlineExceeded
from bridge.dispatch.balancer import Candidate, balancer
from bridge.dispatch.endpoint import Admission, Clock, Endpoint, EndpointReport, Result
from bridge.errors import CircuitBreakerOpen, QueueFull
from providers.base import Credentials
from providers.errors import RateLimited

_SHORTEST_TIMER = 0.001


@dataclass(frozen=True, slots=True)
class ProviderReport:
    """The state of one provider. `queued`: calls in its queue."""

    provider: str
    queued: int
    endpoints: tuple[EndpointReport, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """Where the calls of one target may go.

    `key`: the caller's own key, sent in place of each endpoint's. `key_id` identifies it without holding it; "" stands
    for the endpoint's own key.
    """

    queue: "ProviderQueue"
    endpoints: tuple[Endpoint, ...]
    key: Credentials | None = None
    key_id: str = ""

    def credentials(self, endpoint: Endpoint) -> Credentials:
        """Return the key that goes to this endpoint."""
        return endpoint.credentials if self.key is None else self.key

    def likeliest(self) -> Endpoint:
        """Return an endpoint that is likely to respond."""
        return next((e for e in self.endpoints if e.breaker.state == "closed"), self.endpoints[0])

    def is_available(self, excluded: Collection[Endpoint]) -> bool:
        """Return whether an endpoint that is not excluded could be called."""
        return any(e.is_available(self.key_id) for e in self.endpoints if e not in excluded)


class Waiter:
    """A call in the queue. `excluded`: endpoints at which it failed.

    Waiters with the same `signature` are admitted, and rejected by a circuit breaker, at the same moments.
    """

    def __init__(self, route: Route, deadline: Deadline, excluded: tuple[Endpoint, ...]) -> None:
        self.route = route
        self.deadline = deadline
        self.allowed = tuple(endpoint for endpoint in route.endpoints if endpoint not in excluded)
        self.signature = (route.key_id, self.allowed)
        self.admission: asyncio.Future[Admission] = asyncio.get_running_loop().create_future()


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a call cannot start. `retry_after` of the open breakers, None while one may admit it; `pause` in seconds."""

    endpoints: int
    retry_after: float | None
    pause: float

    def refusal(self, deadline: Deadline) -> CircuitBreakerOpen | RateLimited | None:
        """Return the error when waiting is in vain."""
        if self.retry_after is not None:
            return CircuitBreakerOpen(self.endpoints, self.retry_after)
        if self.pause and self.pause >= deadline.left():
            return RateLimited(
                f"The rate limit of the provider is reached. It accepts calls again in {self.pause:.0f} seconds.",
                retry_after=self.pause,
            )
        return None


class ProviderQueue:
    """The endpoints of one provider, and the calls that wait for one of them."""

    def __init__(
        self,
        name: str,
        settings: ProviderSettings,
        max_queue: int,
        clock: Clock,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        """`max_queue`: calls that may wait. `uniform` returns a number in [0, 1)."""
        self.name = name
        self.endpoints = tuple(Endpoint(endpoint, settings.breaker, clock) for endpoint in settings.endpoints)
        self.disabled = settings.disabled
        self.clock = clock
        self._balancer = balancer(settings.strategy, uniform)
        self._max_queue = max_queue
        self._waiting: OrderedDict[str, deque[Waiter]] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def queued(self) -> int:
        """Return how many calls wait."""
        return sum(map(len, self._waiting.values()))

    def report(self) -> ProviderReport:
        """Return the provider's state."""
        return ProviderReport(self.name, self.queued, tuple(endpoint.report() for endpoint in self.endpoints))

    def join(
        self, route: Route, caller: str, deadline: Deadline, excluded: tuple[Endpoint, ...] = ()
    ) -> Admission | Waiter:
        """Return an admission, or the place in the queue to `wait` for.

        Raises QueueFull, CircuitBreakerOpen, and RateLimited when the limits outlast the deadline.
        """
        waiter = Waiter(route, deadline, excluded)
        if not self._waiting and (admission := self._admit(waiter)):
            return admission
        if refusal := self._obstacle(waiter).refusal(deadline):
            raise refusal
        self._waiting.setdefault(caller, deque()).append(waiter)
        self.advance()
        if waiter.admission.done():
            return waiter.admission.result()
        if self.queued > self._max_queue:
            self._drop_one(waiter, caller)
        return waiter

    async def wait(self, waiter: Waiter) -> Admission:
        """Wait for the admission. Raises DeadlineExceeded, and what `join` raises."""
        try:
            async with asyncio.timeout(waiter.deadline.left()):
                return await waiter.admission
        except TimeoutError:
            self._leave(waiter)
            raise DeadlineExceeded(waiter.deadline.seconds, "waiting for a free slot at the provider") from None
        except BaseException:
            self._leave(waiter)
            raise

    def end(self, admission: Admission, result: Result) -> None:
        """End a call, and admit the next ones."""
        admission.end(result)
        self.advance()

    def advance(self) -> None:
        """Admit every waiter that can go, one of each caller in turn, and reject those that wait in vain."""
        blocked: dict[object, Obstacle] = {}
        admitted = bool(self._waiting)
        while admitted:
            admitted = False
            for caller in list(self._waiting):
                if self._admit_next(self._waiting[caller], blocked):
                    admitted = True
                    self._waiting.move_to_end(caller)
        self._waiting = OrderedDict((caller, waiters) for caller, waiters in self._waiting.items() if waiters)
        self._set_timer()

    def _admit_next(self, waiters: deque[Waiter], blocked: dict[object, Obstacle]) -> bool:
        """Admit the first waiter that is not blocked; return whether there was one."""
        for waiter in list(waiters):
            if waiter.signature not in blocked:
                if admission := self._admit(waiter):
                    waiters.remove(waiter)
                    waiter.admission.set_result(admission)
                    return True
                blocked[waiter.signature] = self._obstacle(waiter)
            if refusal := blocked[waiter.signature].refusal(waiter.deadline):
                waiters.remove(waiter)
                waiter.admission.set_exception(refusal)
        return False

    def _admit(self, waiter: Waiter) -> Admission | None:
        """Start a call at an endpoint with room; None when there is none."""
        key_id = waiter.route.key_id
        free = [endpoint for endpoint in waiter.allowed if endpoint.has_room(key_id)]
        if not free:
            return None
        preferred = [endpoint for endpoint in free if not endpoint.is_avoided] or free
        candidates = [
            Candidate(index, endpoint.settings.weight, endpoint.in_flight)
            for index, endpoint in enumerate(self.endpoints)
            if endpoint in preferred
        ]
        return Admission.start(self.endpoints[self._balancer.choose(candidates)], key_id)

    @staticmethod
    def _obstacle(waiter: Waiter) -> Obstacle:
        """Return why the waiter is not admitted. A trial call is worth waiting for: it may close the breaker."""
        allowed, key_id = waiter.allowed, waiter.route.key_id
        alive = [endpoint for endpoint in allowed if endpoint.breaker.admits or endpoint.breaker.trial_running]
        if not alive:
            retry_after = min((endpoint.breaker.retry_after for endpoint in allowed), default=1.0)
            return Obstacle(len(allowed), retry_after, 0.0)
        return Obstacle(len(allowed), None, min(endpoint.limits(key_id).known_wait for endpoint in alive))

    def _drop_one(self, newcomer: Waiter, caller: str) -> None:
        """Reject the newest waiter of the caller that has the most, so that one caller cannot fill the queue."""
        largest = max(self._waiting, key=lambda name: (len(self._waiting[name]), name == caller))
        victim = self._waiting[largest].pop()
        if not self._waiting[largest]:
            del self._waiting[largest]
        if victim is newcomer:
            raise QueueFull
        victim.admission.set_exception(QueueFull())

    def _leave(self, waiter: Waiter) -> None:
        """Remove a waiter that gave up; an admission that it got meanwhile is returned."""
        for caller, waiters in list(self._waiting.items()):
            if waiter in waiters:
                waiters.remove(waiter)
            if not waiters:
                del self._waiting[caller]
        admission = waiter.admission
        if admission.done() and not admission.cancelled() and admission.exception() is None:
            self.end(admission.result(), Result(None))
        admission.cancel()

    def _set_timer(self) -> None:
        """Look again when time lets a waiter through."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiters = {waiter.signature: waiter for waiters in self._waiting.values() for waiter in waiters}
        waits = (e.wait(waiter.route.key_id) for waiter in waiters.values() for e in waiter.allowed)
        wait = min((seconds for seconds in waits if 0 < seconds < inf), default=inf)
        if wait < inf:
            self._timer = asyncio.get_running_loop().call_later(max(wait, _SHORTEST_TIMER), self.advance)
