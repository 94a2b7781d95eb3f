"""The endpoints of a provider and the queue in front of them: bounded, and fair by caller."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Collection
from dataclasses import dataclass
from math import inf

from bridge.config import ProviderSettings
from bridge.deadline import DeadlineExceeded
from bridge.dispatch.balancer import Balancer
from bridge.dispatch.endpoint import Admission, Clock, Endpoint
from bridge.errors import CircuitBreakerOpen, QueueFull
from bridge.run import Run
from providers.base import Credentials
from providers.errors import RateLimited

_SHORTEST_TIMER = 0.001


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
    """A call that waits for one of the `allowed` endpoints.

    Waiters with the same `signature` are admitted, and rejected by a circuit breaker, at the same moments.
    """

    def __init__(self, route: Route, run: Run, excluded: Collection[Endpoint]) -> None:
        self.caller = run.caller
        self.deadline = run.deadline
        self.key_id = route.key_id
        self.allowed = tuple(endpoint for endpoint in route.endpoints if endpoint not in excluded)
        self.signature = (self.key_id, self.allowed)
        self.admission: asyncio.Future[Admission] = asyncio.get_running_loop().create_future()

    def pause(self) -> float | None:
        """Return the seconds that rate limits keep the call waiting; None when every circuit breaker is open.

        A trial call is worth waiting for: it may close the breaker.
        """
        alive = [e for e in self.allowed if e.breaker.admits or e.breaker.trial_running]
        return min((endpoint.limits(self.key_id).wait for endpoint in alive), default=None)

    def refusal(self, pause: float | None) -> CircuitBreakerOpen | RateLimited | None:
        """Return the error when waiting is in vain; `pause` as `pause()` returns it."""
        if pause is None:
            retry_after = min((endpoint.breaker.retry_after for endpoint in self.allowed), default=1.0)
            return CircuitBreakerOpen(len(self.allowed), retry_after)
        if pause and pause >= self.deadline.left():
            message = f"The rate limit of the provider is reached. It accepts calls again in {pause:.0f} seconds."
            return RateLimited(message, retry_after=pause)
        return None


class ProviderQueue:
    """The endpoints of one provider, and the calls that wait for one of them."""

    def __init__(self, name: str, settings: ProviderSettings, max_queue: int, clock: Clock) -> None:
        """`max_queue`: calls that may wait."""
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
        """Return how many calls wait."""
        return sum(map(len, self._waiting.values()))

    async def enter(self, route: Route, run: Run, excluded: Collection[Endpoint] = ()) -> Admission:
        """Wait until a call of `run` may start at an endpoint that is not `excluded`; `end` must follow.

        Raises QueueFull, CircuitBreakerOpen, DeadlineExceeded, and RateLimited when the limits outlast the deadline.
        """
        waiter = Waiter(route, run, excluded)
        if not self._waiting and (admission := self._admit(waiter)):
            return admission
        if refusal := waiter.refusal(waiter.pause()):
            raise refusal
        self._waiting.setdefault(waiter.caller, deque()).append(waiter)
        self.advance()
        if self.queued > self._max_queue:
            self._drop_one(waiter.caller)
        if waiter.admission.done():
            return waiter.admission.result()
        run.stage("queued")
        try:
            with run.timings.measure("queue"):
                async with asyncio.timeout(waiter.deadline.left()):
                    return await waiter.admission
        except TimeoutError:
            self._leave(waiter)
            raise DeadlineExceeded(waiter.deadline.seconds, "waiting for a free slot at the provider") from None
        except BaseException:
            self._leave(waiter)
            raise

    def advance(self) -> None:
        """Admit every waiter that can go, one of each caller in turn, and reject those that wait in vain."""
        blocked: dict[object, float | None] = {}
        admitted = bool(self._waiting)
        while admitted:
            admitted = False
            for caller in list(self._waiting):
                if self._admit_next(self._waiting[caller], blocked):
                    admitted = True
                    self._waiting.move_to_end(caller)
        self._waiting = OrderedDict((caller, waiters) for caller, waiters in self._waiting.items() if waiters)
        self._set_timer()

    def _admit_next(self, waiters: deque[Waiter], blocked: dict[object, float | None]) -> bool:
        """Admit the first waiter that is not blocked; return whether there was one. `blocked`: pauses by signature."""
        for waiter in list(waiters):
            if waiter.signature not in blocked:
                if admission := self._admit(waiter):
                    waiters.remove(waiter)
                    waiter.admission.set_result(admission)
                    return True
                blocked[waiter.signature] = waiter.pause()
            if refusal := waiter.refusal(blocked[waiter.signature]):
                waiters.remove(waiter)
                waiter.admission.set_exception(refusal)
        return False

    def _admit(self, waiter: Waiter) -> Admission | None:
        """Start a call at an endpoint with room; None when there is none."""
        free = [endpoint for endpoint in waiter.allowed if endpoint.has_room(waiter.key_id)]
        preferred = [endpoint for endpoint in free if not endpoint.is_avoided] or free
        return self._balancer.choose(preferred).start(waiter.key_id) if preferred else None

    def _drop_one(self, newcomer: str) -> None:
        """Reject the newest waiter of the caller that has the most, so that one caller cannot fill the queue."""
        largest = max(self._waiting, key=lambda caller: (len(self._waiting[caller]), caller == newcomer))
        self._waiting[largest].pop().admission.set_exception(QueueFull())
        if not self._waiting[largest]:
            del self._waiting[largest]

    def _leave(self, waiter: Waiter) -> None:
        """Remove a waiter that gave up; an admission that it got meanwhile is returned."""
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
        """Look again when time lets a waiter through."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiters = {waiter.signature: waiter for waiters in self._waiting.values() for waiter in waiters}
        waits = (endpoint.wait(waiter.key_id) for waiter in waiters.values() for endpoint in waiter.allowed)
        wait = min((seconds for seconds in waits if 0 < seconds < inf), default=inf)
        if wait < inf:
            self._timer = asyncio.get_running_loop().call_later(max(wait, _SHORTEST_TIMER), self.advance)
