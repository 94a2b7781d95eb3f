"""Rate limits of an endpoint: hints are obeyed, configured windows are kept, concurrency adapts."""

from math import inf

import pytest

from bridge.dispatch.concurrency import AdaptiveConcurrency
from bridge.dispatch.rate_limit import KeyLimits
from providers.base import Completion
from providers.errors import ProviderError, RateLimited, ServerFailed, Unavailable
from providers.hints import Allowance, RateHints
from providers.usage import Usage
from tests.dispatch.dispatching import Clock

GOOD = Completion("{}", "m")
EMPTY = RateHints(requests=Allowance(0, 10, 20.0))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> KeyLimits:
    return KeyLimits(clock, uniform=lambda: 0.5)


def call(limits: KeyLimits, result: Completion | ProviderError | None = GOOD) -> None:
    limits.end(limits.start(), result)


def limited(retry_after: float | None = None, rate: RateHints | None = None) -> RateLimited:
    error = RateLimited("x", status=429, retry_after=retry_after)
    error.rate = rate
    return error


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (limited(7), 7),
        (limited(0.5), 0.5),
        (limited(100_000), 3600),
        (limited(7, EMPTY), 7),
        (limited(None, EMPTY), 20),
        (limited(), 1),  # an unusable Retry-After is none
    ],
)
def test_a_429_pauses_as_long_as_it_says(limits: KeyLimits, error: RateLimited, seconds: float) -> None:
    call(limits, error)
    assert (limits.pause, error.retry_after) == (seconds, seconds)


def test_429s_without_a_hint_back_off_exponentially(limits: KeyLimits, clock: Clock) -> None:
    pauses = []
    for _ in range(8):
        call(limits, limited())
        pauses.append(limits.pause)
        clock.now += limits.pause
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    call(limits)
    call(limits, limited())
    assert limits.pause == 1


def test_429s_of_calls_that_left_together_count_once(limits: KeyLimits) -> None:
    together = [limits.start() for _ in range(5)]
    for started in together:
        limits.end(started, limited())
    assert limits.pause == 1


@pytest.mark.parametrize(
    ("rate", "seconds"),
    [
        (EMPTY, 20),
        (RateHints(tokens=Allowance(0, 100, 3.0)), 3),
        (RateHints(Allowance(0, 10, 2.0), Allowance(0, 10, 3.0)), 3),
        (RateHints(requests=Allowance(0)), 1),
        (RateHints(requests=Allowance(1, 10, 20.0)), 0),
        (None, 0),
    ],
)
def test_announced_limits_with_nothing_left_pause_before_a_429(
    limits: KeyLimits, rate: RateHints | None, seconds: float
) -> None:
    call(limits, Completion("{}", "m", rate=rate))
    assert limits.wait == seconds


def test_a_shorter_hint_does_not_end_a_longer_pause(limits: KeyLimits) -> None:
    call(limits, limited(10))
    call(limits, limited(1))
    assert limits.pause == 10


def test_configured_requests_per_minute_are_kept(clock: Clock) -> None:
    limits = KeyLimits(clock, requests_per_minute=2)
    for _ in range(2):
        assert limits.wait == 0
        call(limits)
    assert 0 < limits.wait <= 120


def test_configured_tokens_per_minute_are_kept(clock: Clock) -> None:
    limits = KeyLimits(clock, tokens_per_minute=100)
    first = limits.start()
    assert limits.wait == inf  # the cost of a call is not known yet
    assert limits.known_wait == 0
    limits.end(first, Completion("{}", "m", Usage(30, 10)))
    second = limits.start()
    assert limits.wait > 0  # 40 spent, 40 in flight, and another 40 do not fit
    limits.end(second, Completion("{}", "m", Usage(30, 10)))
    assert 0 < limits.wait <= 120


def test_a_call_that_costs_more_than_a_minute_allows_can_go_alone(clock: Clock) -> None:
    limits = KeyLimits(clock, tokens_per_minute=10)
    started = limits.start()
    limits.end(started, Completion("{}", "m", None))
    assert limits.wait == 0


def test_concurrency_is_halved_by_429_and_overload_and_grows_by_one_a_round() -> None:
    concurrency = AdaptiveConcurrency(8)
    started = [concurrency.start() for _ in range(8)]
    assert not concurrency.has_room
    concurrency.end(started.pop(), overload=True)
    assert concurrency.limit == 4
    concurrency.end(started.pop(), overload=True)  # it left before the limit was lowered
    assert concurrency.limit == 4
    for epoch in started:
        concurrency.end(epoch, success=True)
    assert concurrency.limit == 5
    for _ in range(5):
        concurrency.end(concurrency.start())  # a cancelled call is no evidence
    assert concurrency.limit == 5
    for _ in range(5 + 6 + 7 + 50):
        concurrency.end(concurrency.start(), success=True)
    assert concurrency.limit == 8


def test_unlimited_concurrency_is_halved_from_what_was_in_flight() -> None:
    concurrency = AdaptiveConcurrency()
    started = [concurrency.start() for _ in range(10)]
    concurrency.end(started[0], overload=True)
    assert concurrency.limit == 5
    one = AdaptiveConcurrency()
    one.end(one.start(), overload=True)
    assert one.limit == 1


@pytest.mark.parametrize(
    ("result", "limit"),
    [
        (limited(1), 4),
        (Unavailable("x", status=503), 4),
        (Unavailable("x", status=408), 8),
        (ServerFailed("x", status=500), 8),
        (None, 8),
    ],
)
def test_what_lowers_the_concurrency(clock: Clock, result: ProviderError | None, limit: int) -> None:
    limits = KeyLimits(clock, max_concurrency=8)
    started = [limits.start() for _ in range(8)]
    limits.end(started[0], result)
    assert limits.concurrency.limit == limit
