"""The queue before the endpoints: who waits, who is told to go, and that no place is lost."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import count

import pytest

from bridge.config import BreakerSettings, EndpointSettings, Fleet
from bridge.deadline import Deadline, DeadlineExceeded
from bridge.dispatch.legacy.endpoint import Entry
from bridge.dispatch.legacy.endpoints import Endpoints, Route
from bridge.errors import CircuitBreakerOpen, QueueFull
from providers.base import Completion, Credentials, ProviderConfig
from providers.errors import ProviderError, RateLimited, ServerFailed

GOOD = Completion("{}", "m")
CONFIG = ProviderConfig("p", "vllm", "http://gpu/v1")


def endpoints(many: int = 1, at_once: int | None = 1, max_queue: int = 8) -> Endpoints:
    listed = tuple(EndpointSettings(f"{place}", CONFIG, max_concurrency=at_once) for place in range(many))
    return Endpoints("p", Fleet(listed, breaker=BreakerSettings(1, 60)), max_queue, time.monotonic)


async def nobody() -> None:
    """Nobody wants to know."""


def route(of: Endpoints, key: Credentials | None = None) -> Route:
    return Route(of, of.all, key)


def enter(of: Endpoints, seconds: float = 20, queued: Callable[[], Awaitable[None]] = nobody) -> "asyncio.Task[Entry]":
    return asyncio.create_task(of.enter(route(of), Deadline(seconds), queued))


async def waiting(of: Endpoints, many: int) -> None:
    """Give the others turns until so many wait."""
    for _ in range(100):
        if of.report().queued == many:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"{of.report().queued} wait")


async def test_a_place_goes_to_who_waited_longest() -> None:
    of = endpoints()
    first = await enter(of)
    later = []
    for place in range(3):
        later.append(enter(of))
        await waiting(of, place + 1)
    of.leave(first, GOOD)
    second = await later[0]
    assert [one.done() for one in later] == [True, False, False]
    of.leave(second, GOOD)
    assert (await later[1]).endpoint is of.all[0]


async def test_who_comes_later_does_not_pass_who_waits() -> None:
    of = endpoints()
    first = await enter(of)
    second = enter(of)
    await waiting(of, 1)
    of.leave(first, GOOD)  # granted to the second, which has not run yet
    third = enter(of)
    await waiting(of, 1)
    assert (await second).endpoint.in_flight == 1
    assert not third.done()
    third.cancel()


async def test_a_place_granted_to_who_left_goes_to_the_next() -> None:
    of = endpoints()
    first = await enter(of)
    second, third = enter(of), enter(of)
    await waiting(of, 2)
    of.leave(first, GOOD)
    second.cancel()
    assert (await third).endpoint.in_flight == 1
    with pytest.raises(asyncio.CancelledError):
        await second


async def test_who_leaves_the_queue_is_gone() -> None:
    of = endpoints()
    first = await enter(of)
    second = enter(of)
    await waiting(of, 1)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    assert of.report().queued == 0
    of.leave(first, None)
    assert of.report().endpoints[0].in_flight == 0


async def test_time_in_the_queue_is_the_requests() -> None:
    of = endpoints()
    await enter(of)
    told = []

    async def queued() -> None:
        told.append("queued")

    with pytest.raises(DeadlineExceeded, match="free slot"):
        await enter(of, 0.2, queued)
    assert (told, of.report().queued) == (["queued"], 0)


async def test_more_than_may_wait_are_refused_at_once() -> None:
    of = endpoints(max_queue=0)
    await enter(of)
    with pytest.raises(QueueFull):
        await enter(of)


async def test_who_waits_takes_the_first_endpoint_that_has_room() -> None:
    of = endpoints(2)
    held = [await enter(of) for _ in range(2)]
    assert {one.endpoint.name for one in held} == {"0", "1"}
    third = enter(of)
    await waiting(of, 1)
    of.leave(held[1], GOOD)
    assert (await third).endpoint is held[1].endpoint


async def test_when_the_last_endpoint_opens_who_waits_is_told() -> None:
    of = endpoints(2)
    held = [await enter(of) for _ in range(2)]
    third = enter(of)
    await waiting(of, 1)
    of.leave(held[0], ServerFailed("x", status=500))
    assert not third.done()
    of.leave(held[1], ServerFailed("x", status=500))
    with pytest.raises(CircuitBreakerOpen, match="2 endpoints") as raised:
        await third
    assert 59 < raised.value.retry_after <= 60


async def test_a_429_tells_those_that_cannot_wait_so_long_wherever_they_stand() -> None:
    of = endpoints()
    first = await enter(of)
    patient, hasty = enter(of, 60), enter(of, 2)
    await waiting(of, 2)
    of.leave(first, RateLimited("x", status=429, retry_after=30))
    with pytest.raises(RateLimited) as raised:
        await hasty
    assert raised.value.retry_after == pytest.approx(31, abs=1)  # a second more: whole ones are rounded
    assert not patient.done()
    patient.cancel()


async def test_limits_let_the_queue_go_on_by_themselves() -> None:
    of = endpoints(at_once=None)
    of.leave(await enter(of), RateLimited("x", status=429, retry_after=0.3))
    second = enter(of)
    await waiting(of, 1)
    assert (await asyncio.wait_for(second, 5)).endpoint.in_flight == 1


async def test_who_comes_when_a_limit_ends_stands_behind_who_waits_for_it() -> None:
    now = [0.0]
    of = Endpoints("p", Fleet((EndpointSettings("a", CONFIG, requests_per_minute=1),)), 8, lambda: now[0])
    of.leave(await enter(of), GOOD)
    second = enter(of, 100)
    await waiting(of, 1)
    now[0] = 61
    third = enter(of, 100)
    assert (await second).endpoint.in_flight == 1
    assert not third.done()
    third.cancel()


@pytest.mark.parametrize("steps", range(1, 12))
async def test_a_limit_that_ends_while_it_is_looked_at_keeps_nobody_waiting(steps: int) -> None:
    readings = count()
    listed = (EndpointSettings("a", CONFIG),)
    of = Endpoints("p", Fleet(listed), 8, lambda: next(readings) * 0.01)  # time passes with each look at the clock
    of.leave(await enter(of), RateLimited("x", status=429, retry_after=steps * 0.01))
    assert (await asyncio.wait_for(enter(of), 5)).endpoint.in_flight == 1


async def test_a_callers_own_key_does_not_wait_for_the_limits_of_ours() -> None:
    of = endpoints(at_once=None)
    of.leave(await enter(of), RateLimited("x", status=429, retry_after=60))
    own = Credentials("theirs")
    entry = await of.enter(route(of, own), Deadline(5), nobody)
    of.leave(entry, RateLimited("x", status=429, retry_after=600))
    with pytest.raises(RateLimited) as raised:
        await enter(of, 1)
    assert raised.value.retry_after == pytest.approx(61, abs=1)


async def test_who_waits_for_the_first_answer_waits_for_no_full_server() -> None:
    of = endpoints(at_once=4, max_queue=2)
    await enter(of, 100)
    held_up = [enter(of, 100) for _ in range(5)]  # for the three places that are free, and two
    await waiting(of, 5)
    with pytest.raises(QueueFull):
        await enter(of, 100)
    for one in held_up:
        one.cancel()


async def test_who_has_little_time_still_waits_for_the_first_answer() -> None:
    keyed = ProviderConfig("p", "vllm", "http://gpu/v1", api_key="sk")
    of = Endpoints("p", Fleet((EndpointSettings("a", keyed),)), 8, time.monotonic)
    first = await enter(of)
    second = enter(of, 2)
    await waiting(of, 1)
    of.leave(first, GOOD)
    assert (await second).endpoint.in_flight == 1


async def test_calls_are_counted() -> None:
    of = endpoints(at_once=None)
    of.leave(await enter(of), GOOD)
    of.leave(await enter(of), ServerFailed("x", status=500))
    (found,) = of.report().endpoints
    assert (found.calls, found.in_flight, found.breaker) == (2, 0, "open")


@pytest.mark.parametrize("failure", [RateLimited("x", status=429, retry_after=0.5), ServerFailed("x", status=500)])
async def test_who_waits_elsewhere_keeps_nobody_from_an_endpoint_that_is_back(failure: ProviderError) -> None:
    listed = tuple(EndpointSettings(name, CONFIG, max_concurrency=1) for name in "ab")
    of = Endpoints("p", Fleet(listed, breaker=BreakerSettings(1, 0.5)), 8, time.monotonic)
    a, b = of.all
    await of.enter(route(of), Deadline(20), nobody, [a])  # b is busy for long
    of.leave(await of.enter(route(of), Deadline(20), nobody, [b]), failure)
    moved = asyncio.create_task(of.enter(route(of), Deadline(20), nobody, [a]))
    await waiting(of, 1)
    assert (await enter(of, 5)).endpoint is a
    assert not moved.done()
    moved.cancel()


async def test_a_callers_own_key_passes_who_waits_for_the_limits_of_ours() -> None:
    of = endpoints(at_once=None, max_queue=2)
    of.leave(await enter(of), RateLimited("x", status=429, retry_after=60))
    behind = [enter(of, 100), enter(of, 100)]
    await waiting(of, 2)
    entry = await asyncio.wait_for(of.enter(route(of, Credentials("theirs")), Deadline(5), nobody), 2)
    assert (entry.endpoint, [one.done() for one in behind]) == (of.all[0], [False, False])
    with pytest.raises(QueueFull):
        await enter(of, 100)
    for one in behind:
        one.cancel()
