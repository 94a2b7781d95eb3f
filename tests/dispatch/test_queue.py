"""The queue of a provider: who waits, who is admitted, who is rejected, and that no slot is lost."""

import asyncio
from collections.abc import Awaitable

import pytest

from bridge.deadline import Deadline, DeadlineExceeded
from bridge.dispatch.endpoint import Admission, Endpoint, Result
from bridge.dispatch.queue import ProviderQueue, Route
from bridge.errors import CircuitBreakerOpen, QueueFull
from providers.base import Completion
from providers.errors import AuthFailed, ProviderError, RateLimited, Unavailable
from tests.dispatch.dispatching import Clock, endpoint, provider

GOOD = Result(Completion("{}", "m"))
DOWN = Result(Unavailable("x", status=503))


def limited(seconds: float) -> Result:
    return Result(RateLimited("x", status=429, retry_after=seconds))


class Queue(ProviderQueue):
    """A provider's queue with a clock that only tests advance."""

    def __init__(self, endpoints: int = 1, max_queue: int = 8, max_concurrency: int | None = 1) -> None:
        self.time = Clock()
        listed = [endpoint(str(place), max_concurrency=max_concurrency) for place in range(endpoints)]
        super().__init__("p", provider(*listed, failures=1), max_queue, self.time)

    async def enter(
        self, caller: str = "", seconds: float = 20, key_id: str = "", excluded: tuple[Endpoint, ...] = ()
    ) -> Admission:
        route = Route(self, self.endpoints, key_id=key_id)
        place = self.join(route, caller, Deadline(seconds), excluded)
        return place if isinstance(place, Admission) else await self.wait(place)

    async def line_up(self, *calls: Awaitable[Admission]) -> "list[asyncio.Task[Admission]]":
        """Start calls that have to wait, one after another."""
        tasks = []
        for call in calls:
            tasks.append(asyncio.ensure_future(call))
            await asyncio.sleep(0)
        return tasks


async def end(queue: Queue, admission: Admission, result: Result = GOOD) -> None:
    queue.end(admission, result)
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_calls_of_one_caller_are_admitted_in_order() -> None:
    queue = Queue()
    admission = await queue.enter()
    waiting = await queue.line_up(*(queue.enter() for _ in range(3)))
    for place in range(3):
        await end(queue, admission)
        assert [task.done() for task in waiting] == [True] * (place + 1) + [False] * (2 - place)
        admission = await waiting[place]


async def test_callers_are_admitted_in_turn() -> None:
    queue = Queue()
    admission = await queue.enter("a")
    names = ["a", "a", "a", "b", "b", "c"]
    waiting = await queue.line_up(*(queue.enter(name) for name in names))
    order = []
    for _ in names:
        await end(queue, admission)
        (place,) = (place for place, task in enumerate(waiting) if task.done() and place not in order)
        order.append(place)
        admission = await waiting[place]
    assert [names[place] for place in order] == ["a", "b", "c", "a", "b", "a"]


async def test_a_full_queue_rejects_the_caller_that_has_most_in_it() -> None:
    queue = Queue(max_queue=3)
    await queue.enter("a")
    waiting = await queue.line_up(*(queue.enter("a") for _ in range(3)))
    with pytest.raises(QueueFull):
        await queue.enter("a")
    (other,) = await queue.line_up(queue.enter("b"))
    with pytest.raises(QueueFull):
        await waiting[2]
    assert (queue.queued, other.done()) == (3, False)
    for task in (*waiting[:2], other):
        task.cancel()


async def test_without_a_queue_a_busy_provider_rejects_at_once() -> None:
    queue = Queue(max_queue=0)
    await queue.enter()
    with pytest.raises(QueueFull):
        await queue.enter()


async def test_a_slot_granted_to_a_cancelled_call_goes_to_the_next() -> None:
    queue = Queue()
    first = await queue.enter()
    second, third = await queue.line_up(queue.enter(), queue.enter())
    queue.end(first, GOOD)  # granted to the second, which has not run since
    second.cancel()
    assert (await third).endpoint.in_flight == 1
    assert queue.queued == 0


async def test_a_cancelled_call_leaves_the_queue() -> None:
    queue = Queue()
    first = await queue.enter()
    (second,) = await queue.line_up(queue.enter())
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    queue.end(first, Result(None))
    assert (queue.queued, queue.endpoints[0].in_flight) == (0, 0)


async def test_waiting_ends_with_the_deadline() -> None:
    queue = Queue()
    await queue.enter()
    with pytest.raises(DeadlineExceeded, match="free slot"):
        await queue.enter(seconds=0.05)
    assert queue.queued == 0


async def test_any_endpoint_with_room_admits() -> None:
    queue = Queue(endpoints=2)
    held = [await queue.enter() for _ in range(2)]
    assert {admission.endpoint.name for admission in held} == {"0", "1"}
    (third,) = await queue.line_up(queue.enter())
    await end(queue, held[1])
    assert (await third).endpoint is held[1].endpoint


async def test_a_call_that_waits_for_one_endpoint_holds_up_no_other() -> None:
    queue = Queue(endpoints=2)
    second = queue.endpoints[1]
    await queue.enter(excluded=(second,))
    (moved,) = await queue.line_up(queue.enter(excluded=(second,)))
    assert (await queue.enter()).endpoint is second
    assert not moved.done()
    moved.cancel()


async def test_the_queue_is_rejected_when_the_last_breaker_opens() -> None:
    queue = Queue(endpoints=2)
    held = [await queue.enter() for _ in range(2)]
    (third,) = await queue.line_up(queue.enter())
    await end(queue, held[0], DOWN)
    assert not third.done()
    queue.end(held[1], DOWN)
    with pytest.raises(CircuitBreakerOpen, match="2 endpoints") as raised:
        await third
    assert raised.value.retry_after == 30
    with pytest.raises(CircuitBreakerOpen):
        await queue.enter()


@pytest.mark.parametrize("healthy", [True, False])
async def test_calls_wait_for_the_trial_of_a_half_open_breaker(healthy: bool) -> None:
    queue = Queue(endpoints=2, max_concurrency=None, max_queue=60)
    for admission in [await queue.enter() for _ in range(2)]:
        queue.end(admission, DOWN)
    queue.time.now += 30
    trials = [await queue.enter() for _ in range(2)]
    others = await queue.line_up(*(queue.enter() for _ in range(58)))
    assert not any(task.done() for task in others)
    for trial in trials:
        queue.end(trial, GOOD if healthy else DOWN)
    results = await asyncio.gather(*others, return_exceptions=True)
    expected = Admission if healthy else CircuitBreakerOpen
    assert all(isinstance(result, expected) for result in results)


async def test_a_429_rejects_the_calls_whose_deadline_is_too_near() -> None:
    queue = Queue()
    first = await queue.enter()
    patient, hasty = await queue.line_up(queue.enter(seconds=60), queue.enter(seconds=2))
    queue.end(first, limited(30))
    with pytest.raises(RateLimited) as raised:
        await hasty
    assert raised.value.retry_after == 30
    assert not patient.done()
    patient.cancel()


@pytest.mark.parametrize("result", [limited(0.05), DOWN])
async def test_the_queue_goes_on_by_itself_when_a_pause_or_an_open_breaker_ends(result: Result) -> None:
    listed = [endpoint("a", max_concurrency=None), endpoint("b", max_concurrency=1)]
    queue = ProviderQueue("p", provider(*listed, failures=1, seconds=0.05), 8, asyncio.get_running_loop().time)
    a, b = queue.endpoints
    route = Route(queue, queue.endpoints)
    blocker = queue.join(route, "", Deadline(20), (a,))  # b stays busy
    admission = queue.join(route, "", Deadline(20), (b,))
    assert isinstance(blocker, Admission)
    assert isinstance(admission, Admission)
    queue.end(admission, result)
    place = queue.join(route, "", Deadline(20))
    assert not isinstance(place, Admission)
    assert (await asyncio.wait_for(queue.wait(place), 10)).endpoint is a


async def test_one_callers_429_does_not_slow_another_key() -> None:
    queue = Queue(max_concurrency=None)
    for key_id, seconds in (("", 60), ("one", 600)):
        queue.end(await queue.enter(key_id=key_id), limited(seconds))
    assert await queue.enter(key_id="two")
    for key_id in ("", "one"):
        with pytest.raises(RateLimited):
            await queue.enter(key_id=key_id, seconds=5)


async def test_an_endpoint_that_just_failed_comes_last() -> None:
    queue = Queue(endpoints=2, max_concurrency=None)
    first, second = queue.endpoints
    queue.end(await queue.enter(excluded=(second,)), Result(ProviderError("x", status=400)))
    assert not first.is_avoided
    queue.end(await queue.enter(excluded=(second,)), Result(AuthFailed("x", status=401)))
    assert {(await queue.enter()).endpoint for _ in range(4)} == {second}
    queue.time.now += 5
    assert (await queue.enter()).endpoint is first


async def test_the_report_counts_calls() -> None:
    queue = Queue(max_concurrency=None)
    queue.end(await queue.enter(), GOOD)
    queue.end(await queue.enter(), DOWN)
    (state,) = queue.report().endpoints
    assert (state.calls, state.in_flight, state.breaker) == (2, 0, "open")
