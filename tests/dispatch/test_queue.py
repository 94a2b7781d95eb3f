"""The queue of a provider: waiting, admission and rejection of calls, and release of slots."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from bridge.deadline import DeadlineExceeded, StepDeadline
from bridge.dispatch.endpoint import Admission, Endpoint
from bridge.dispatch.queue import ProviderQueue, Route
from bridge.errors import CircuitBreakerOpen, QueueFull
from bridge.run import Run
from providers.base import Completion
from providers.errors import AuthFailed, CallTimeout, ProviderError, RateLimited, Unavailable
from tests.dispatch.dispatching import Clock, endpoint, new_run, provider
from tests.guard import GUARD

GOOD = Completion("{}", "m")
DOWN = Unavailable("x", status=503)


def limited(seconds: float) -> RateLimited:
    return RateLimited("x", status=429, retry_after=seconds)


class Queue(ProviderQueue):
    """A provider queue whose clock is advanced by the tests."""

    def __init__(
        self, endpoints: int = 1, max_queue: int = 8, max_concurrency: int | None = 1, clock: Clock | None = None
    ) -> None:
        self.time = clock or Clock()
        listed = [endpoint(str(place), max_concurrency=max_concurrency) for place in range(endpoints)]
        super().__init__("p", provider(*listed, failures=1), max_queue, self.time)

    async def call(
        self,
        caller: str = "",
        seconds: float = 20,
        key_id: str = "",
        excluded: tuple[Endpoint, ...] = (),
        has_fallback: bool = False,
    ) -> Admission:
        route = Route(self, self.endpoints, key_id=key_id).without(excluded)
        return await self.enter(route, new_run(seconds, caller=caller, has_fallback=has_fallback))

    async def start_waiting(self, *calls: Awaitable[Admission]) -> "list[asyncio.Task[Admission]]":
        """Start calls that must wait, one after another."""
        tasks = []
        for call in calls:
            tasks.append(asyncio.ensure_future(call))
            await asyncio.sleep(0)
        return tasks

    async def end(self, admission: Admission, result: Any = GOOD) -> None:
        admission.end(result)
        self.advance()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def cancel(*tasks: "asyncio.Task[Admission]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class TickingClock(Clock):
    """A clock that advances at every read, so that a pause can end between two reads in one function."""

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


@pytest.mark.parametrize("ticks", range(1, 24))
async def test_a_pause_that_ends_during_the_check_is_noticed(ticks: int) -> None:
    queue = Queue(clock=TickingClock())
    await queue.end(await queue.call(), limited(0.001 * ticks))
    async with asyncio.timeout(GUARD):
        await queue.call()


@pytest.mark.parametrize(("callers", "order"), [("aaaa", "aaaa"), ("aaabbc", "abcaba")])
async def test_callers_are_admitted_round_robin_and_their_calls_in_order(callers: str, order: str) -> None:
    queue = Queue()
    admission = await queue.call("a")
    waiting = await queue.start_waiting(*(queue.call(name) for name in callers))
    admitted: list[int] = []
    for _ in callers:
        await queue.end(admission)
        (place,) = (place for place, task in enumerate(waiting) if task.done() and place not in admitted)
        admitted.append(place)
        admission = await waiting[place]
    assert "".join(callers[place] for place in admitted) == order
    assert [place for place in admitted if callers[place] == "a"] == sorted(p for p in admitted if callers[p] == "a")


async def test_a_full_queue_rejects_the_caller_with_the_most_waiting_calls() -> None:
    queue = Queue(max_queue=3)
    await queue.call("a")
    waiting = await queue.start_waiting(*(queue.call("a") for _ in range(3)))
    with pytest.raises(QueueFull):
        await queue.call("a")
    (second_caller,) = await queue.start_waiting(queue.call("b"))
    with pytest.raises(QueueFull):
        await waiting[2]
    assert (queue.queued, second_caller.done()) == (3, False)
    await cancel(*waiting, second_caller)


async def test_a_slot_granted_to_a_cancelled_call_goes_to_the_next() -> None:
    queue = Queue()
    first = await queue.call()
    second, third = await queue.start_waiting(queue.call(), queue.call())
    first.end(GOOD)
    queue.advance()  # grants the slot to the second call, which has not run since then
    second.cancel()
    assert (await third).endpoint.in_flight == 1
    assert queue.queued == 0


async def test_cancelled_and_expired_calls_leave_the_queue() -> None:
    queue = Queue()
    first = await queue.call()
    (cancelled,) = await queue.start_waiting(queue.call())
    await cancel(cancelled)
    with pytest.raises(DeadlineExceeded, match="free slot"):
        await queue.call(seconds=0.05)
    with pytest.raises(CallTimeout, match="No slot"):  # after half of the time; the rest is reserved for the fallback
        await asyncio.wait_for(queue.call(seconds=0.1, has_fallback=True), GUARD)
    await queue.end(first, None)
    assert (queue.queued, queue.endpoints[0].in_flight) == (0, 0)


async def test_a_call_that_waits_for_one_endpoint_does_not_block_others() -> None:
    queue = Queue(endpoints=2)
    _, second = queue.endpoints
    held = await queue.call(excluded=(second,))
    (moved,) = await queue.start_waiting(queue.call(excluded=(second,)))
    assert (await queue.call()).endpoint is second
    assert not moved.done()
    await queue.end(held)
    assert (await moved).endpoint is held.endpoint


async def test_the_queue_is_rejected_when_the_last_breaker_opens() -> None:
    queue = Queue(endpoints=2)
    held = [await queue.call() for _ in range(2)]
    (third,) = await queue.start_waiting(queue.call())
    await queue.end(held[0], DOWN)
    assert not third.done()
    await queue.end(held[1], DOWN)
    for call in (third, queue.call()):
        with pytest.raises(CircuitBreakerOpen, match="2 endpoints") as raised:
            await call
        assert raised.value.retry_after == 30


@pytest.mark.parametrize("healthy", [True, False])
async def test_calls_wait_for_the_trial_of_a_half_open_breaker(healthy: bool) -> None:
    queue = Queue(endpoints=2, max_concurrency=None, max_queue=60)
    for admission in [await queue.call() for _ in range(2)]:
        await queue.end(admission, DOWN)
    queue.time.now += 30
    trials = [await queue.call() for _ in range(2)]
    waiting = await queue.start_waiting(*(queue.call() for _ in range(58)))
    assert not any(task.done() for task in waiting)
    for trial in trials:
        await queue.end(trial, GOOD if healthy else DOWN)
    results = await asyncio.gather(*waiting, return_exceptions=True)
    expected = Admission if healthy else CircuitBreakerOpen
    assert all(isinstance(result, expected) for result in results)


async def test_a_429_rejects_calls_whose_deadline_is_before_its_end() -> None:
    queue = Queue()
    first = await queue.call()
    patient, *hasty = await queue.start_waiting(
        queue.call(seconds=60), queue.call(seconds=2), queue.call(seconds=50, has_fallback=True)
    )
    await queue.end(first, limited(30))
    for call in hasty:
        with pytest.raises(RateLimited) as raised:
            await call
        assert raised.value.retry_after == 30
    assert not patient.done()
    await cancel(patient)


async def test_a_step_deadline_limits_pauses_but_not_the_wait_for_a_slot() -> None:
    queue = Queue()
    route = Route(queue, queue.endpoints)
    first = await queue.call()
    runs = [Run(StepDeadline(seconds)) for seconds in (0.05, 0.05, 60)]
    second, hasty, patient = await queue.start_waiting(*(queue.enter(route, run) for run in runs))
    with pytest.raises(DeadlineExceeded):  # the last call in the queue, so the others have waited as long
        await queue.call(seconds=0.05)
    await queue.end(first)
    await queue.end(await asyncio.wait_for(second, GUARD), limited(30))
    with pytest.raises(RateLimited):
        await asyncio.wait_for(hasty, GUARD)
    assert not patient.done()
    await cancel(patient)


@pytest.mark.parametrize("result", [limited(0.05), DOWN], ids=["pause", "open breaker"])
async def test_the_end_of_a_pause_admits_the_next_call(result: ProviderError) -> None:
    listed = [endpoint("a", max_concurrency=None), endpoint("b", max_concurrency=1)]
    queue = ProviderQueue("p", provider(*listed, failures=1, seconds=0.05), 8, asyncio.get_running_loop().time)
    a, b = queue.endpoints
    route = Route(queue, queue.endpoints)
    await queue.enter(route.without([a]), new_run())  # b stays busy
    (await queue.enter(route.without([b]), new_run())).end(result)
    assert (await asyncio.wait_for(queue.enter(route, new_run()), 10)).endpoint is a


async def test_rate_limits_are_separate_per_key() -> None:
    queue = Queue(max_concurrency=None)
    for key_id, seconds in (("", 60), ("one", 600)):
        await queue.end(await queue.call(key_id=key_id), limited(seconds))
    assert await queue.call(key_id="two")
    for key_id in ("", "one"):
        with pytest.raises(RateLimited):
            await queue.call(key_id=key_id, seconds=5)


async def test_an_endpoint_that_just_failed_is_chosen_last() -> None:
    queue = Queue(endpoints=2, max_concurrency=None)
    first, second = queue.endpoints
    await queue.end(await queue.call(excluded=(second,)), ProviderError("x", status=400))
    assert not first.is_avoided
    await queue.end(await queue.call(excluded=(second,)), AuthFailed("x", status=401))
    assert {(await queue.call()).endpoint for _ in range(4)} == {second}
    queue.time.now += 5
    assert (await queue.call()).endpoint is first
