"""The endpoints of a provider, and the bounded queue of calls that wait for them. Callers are served in turn."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from math import inf

from bridge.config.models import ProviderSettings
from bridge.deadline import Deadline, DeadlineExceeded
from bridge.dispatch.balancer import Balancer
from bridge.dispatch.endpoint import Admission, Clock, Endpoint
from bridge.errors import CircuitBreakerOpen, QueueFull
from bridge.run import Run
from providers.base import Credentials
from providers.errors import CallTimeout, RateLimited

_SHORTEST_TIMER = 0.001


@dataclass(frozen=True, slots=True)
class Route:
    """The endpoints that the calls of one target may use.

    `key`: the caller's key, sent instead of each endpoint's own key. `key_id`: a digest that identifies the caller's
    key, or "" if the endpoints' own keys are used.
    """

    queue: "ProviderQueue"
    endpoints: tuple[Endpoint, ...]
    key: Credentials | None = field(default=None, compare=False)
    key_id: str = ""

    def credentials(self, endpoint: Endpoint) -> Credentials:
        return endpoint.credentials if self.key is None else self.key

    def likeliest(self) -> Endpoint:
        """Return the endpoint that is most likely to respond."""
        return next((e for e in self.endpoints if e.breaker.state == "closed"), self.endpoints[0])

    def without(self, excluded: Collection[Endpoint]) -> "Route":
        return replace(self, endpoints=tuple(endpoint for endpoint in self.endpoints if endpoint not in excluded))

    @property
    def is_available(self) -> bool:
        """Return whether at least one endpoint is available (`Endpoint.is_available`)."""
        return any(endpoint.is_available(self.key_id) for endpoint in self.endpoints)

    def pause(self) -> float | None:
        """Return the seconds until the rate limits allow a call, or None if all circuit breakers are open."""
        alive = (endpoint for endpoint in self.endpoints if endpoint.breaker.state != "open")
        return min((endpoint.limits(self.key_id).wait for endpoint in alive), default=None)


@dataclass(slots=True, eq=False)
class Waiter:
    """A call that waits for one of the route's endpoints. `caller` identifies its caller.

    `deadline`: the time limit for a pause of the endpoints, and, if it limits the queue, for a free slot.
    """

    route: Route
    caller: str
    deadline: Deadline
    admission: asyncio.Future[Admission] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def refusal(self, pause: float | None) -> CircuitBreakerOpen | RateLimited | None:
        """Return an error if the call cannot start before the deadline. `pause`: the result of `Route.pause`."""
        if pause is None:
            endpoints = self.route.endpoints
            return CircuitBreakerOpen(len(endpoints), min((e.breaker.retry_after for e in endpoints), default=1.0))
        if pause and pause >= self.deadline.left():
            message = f"The rate limit of the provider is reached. It accepts calls again in {pause:.0f} seconds."
            return RateLimited(message, retry_after=pause)
        return None


class ProviderQueue:
    """The endpoints of one provider, and the calls that wait for one of them."""

    def __init__(self, name: str, settings: ProviderSettings, max_queue: int, clock: Clock) -> None:
        """`max_queue`: how many calls may wait. `clock` returns seconds."""
        self.name = name
        self.endpoints = tuple(Endpoint(endpoint, settings.breaker, clock) for endpoint in settings.endpoints)
        self.disabled = settings.disabled
        self.clock = clock
        self._balancer = Balancer(settings.strategy)
        self._max_queue = max_queue
        self._waiting: OrderedDict[str, deque[Waiter]] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def queued(self) -> int:
        return sum(map(len, self._waiting.values()))

    async def enter(self, route: Route, run: Run) -> Admission:
        """Wait until a call of `run` may start at one of the route's endpoints, and start it.

        The caller must call `end` of the returned Admission. If there is a fallback, the call waits at most half of the
        remaining time. With a StepDeadline, it waits for a slot as long as other calls take. Raises QueueFull,
        CircuitBreakerOpen, DeadlineExceeded, CallTimeout (only with a fallback), or RateLimited if the rate limits do
        not allow a call in time.
        """
        deadline = run.deadline.part(0.5 if run.may_fall_back else 1)
        waiter = Waiter(route, run.caller, deadline)
        if admission := self.try_enter(route):
            return admission
        if refusal := waiter.refusal(route.pause()):
            raise refusal
        self._waiting.setdefault(run.caller, deque()).append(waiter)
        self.advance()
        if self.queued > self._max_queue:
            self._drop_one(run.caller)
        if waiter.admission.done():
            return waiter.admission.result()
        run.stage("queued")
        try:
            with run.timings.measure("queue"):
                async with asyncio.timeout(deadline.seconds if deadline.limits_queue else None):
                    return await waiter.admission
        except TimeoutError:
            self._leave(waiter)
            if run.may_fall_back:
                raise CallTimeout(
                    f"No slot became free at the provider within {deadline.seconds:.3g} seconds."
                ) from None
            raise DeadlineExceeded(run.deadline.seconds, "waiting for a free slot at the provider") from None
        except BaseException:
            self._leave(waiter)
            raise

    def try_enter(self, route: Route) -> Admission | None:
        """Start a call at one of the route's endpoints. Return None if it would have to wait."""
        return None if self._waiting else self._admit(route)

    def advance(self) -> None:
        """Start the waiting calls that can start, one per caller in turn. Reject calls that cannot start in time."""
        blocked: dict[Route, float | None] = {}
        admitted = bool(self._waiting)
        while admitted:
            admitted = False
            for caller in list(self._waiting):
                if self._admit_next(self._waiting[caller], blocked):
                    admitted = True
                    self._waiting.move_to_end(caller)
        self._waiting = OrderedDict((caller, waiters) for caller, waiters in self._waiting.items() if waiters)
        self._set_timer()

    def _admit_next(self, waiters: deque[Waiter], blocked: dict[Route, float | None]) -> bool:
        """Start one caller's first call that can start, and return whether there was one.

        `blocked`: caches the pause (`Route.pause`) of each route that has no free endpoint.
        """
        for waiter in list(waiters):
            if waiter.admission.done():  # its task was cancelled but has not run yet
                waiters.remove(waiter)
                continue
            if waiter.route not in blocked:
                if admission := self._admit(waiter.route):
                    waiters.remove(waiter)
                    waiter.admission.set_result(admission)
                    return True
                blocked[waiter.route] = waiter.route.pause()
            if refusal := waiter.refusal(blocked[waiter.route]):
                waiters.remove(waiter)
                waiter.admission.set_exception(refusal)
        return False

    def _admit(self, route: Route) -> Admission | None:
        """Start a call at an endpoint with a free slot. Return None if every endpoint is busy."""
        free = [endpoint for endpoint in route.endpoints if endpoint.has_room(route.key_id)]
        preferred = [endpoint for endpoint in free if not endpoint.is_avoided] or free
        return self._balancer.choose(preferred).start(route.key_id) if preferred else None

    def _drop_one(self, newcomer: str) -> None:
        """Reject the newest call of the caller that has the most calls waiting, so that no caller fills the queue."""
        largest = max(self._waiting, key=lambda caller: (len(self._waiting[caller]), caller == newcomer))
        waiter = self._waiting[largest].pop()
        if not waiter.admission.done():
            waiter.admission.set_exception(QueueFull())
        if not self._waiting[largest]:
            del self._waiting[largest]

    def _leave(self, waiter: Waiter) -> None:
        """Remove a call that stopped waiting. If it was admitted in the meantime, free its slot."""
        waiters = self._waiting.get(waiter.caller, deque())
        if waiter in waiters:
            waiters.remove(waiter)
            if not waiters:
                del self._waiting[waiter.caller]
        admission = waiter.admission
        if admission.done() and not admission.cancelled() and admission.exception() is None:
            admission.result().end(None)
            self.advance()
        admission.cancel()

    def _set_timer(self) -> None:
        """Schedule `advance` for the earliest time at which an endpoint can become available, which may be now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        routes = {waiter.route for waiters in self._waiting.values() for waiter in waiters}
        keyed = [(endpoint, route.key_id) for route in routes for endpoint in route.endpoints]
        wait = min((e.wait(key_id) or (0.0 if e.has_room(key_id) else inf) for e, key_id in keyed), default=inf)
        if wait < inf:
            self._timer = asyncio.get_running_loop().call_later(max(wait, _SHORTEST_TIMER), self.advance)
