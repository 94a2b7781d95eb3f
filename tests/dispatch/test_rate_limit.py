"""Rate limits of an endpoint: hints of the server, backoff and adaptive concurrency."""

import pytest

from bridge.dispatch.rate_limit import KeyLimits
from providers.base import Completion
from providers.errors import ProviderError, RateLimited
from providers.hints import Allowance, RateHints
from tests.dispatch.dispatching import Clock

GOOD = Completion("{}", "m")
EMPTY = RateHints(requests=Allowance(0, 20.0))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> KeyLimits:
    return KeyLimits(clock)


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
        (limited(), 1),  # an invalid Retry-After is ignored
    ],
)
def test_a_429_pauses_for_the_hinted_time(limits: KeyLimits, error: RateLimited, seconds: float) -> None:
    call(limits, error)
    assert limits.wait == error.retry_after == pytest.approx(seconds, rel=0.21)  # a backoff has jitter
    call(limits, limited(0.1))  # a shorter hint does not end a longer pause
    assert limits.wait == error.retry_after


def test_429s_without_a_hint_back_off_exponentially(limits: KeyLimits, clock: Clock) -> None:
    pauses = []
    for _ in range(8):
        started = [limits.start() for _ in range(3)]
        for each in started:  # concurrent rejections count once
            limits.end(each, limited())
        pauses.append(limits.wait)
        clock.now += limits.wait
    assert pauses == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60], rel=0.21)
    call(limits)
    call(limits, limited())
    assert limits.wait == pytest.approx(1, rel=0.21)


@pytest.mark.parametrize(
    ("rate", "seconds"),
    [
        (EMPTY, 20),
        (RateHints(tokens=Allowance(0, 3.0)), 3),
        (RateHints(Allowance(0, 2.0), Allowance(0, 3.0)), 3),
        (RateHints(requests=Allowance(0)), 1),
        (RateHints(requests=Allowance(1, 20.0)), 0),
        (None, 0),
    ],
)
def test_exhausted_announced_limits_pause_before_a_429(
    limits: KeyLimits, rate: RateHints | None, seconds: float
) -> None:
    call(limits, Completion("{}", "m", rate=rate))
    assert limits.wait == seconds


def test_concurrency_is_halved_by_429s_and_grows_by_one_per_round(clock: Clock) -> None:
    limits = KeyLimits(clock, 8)
    started = [limits.start() for _ in range(8)]
    limits.end(started.pop(), limited())
    assert limits.concurrency == 4
    clock.now += 1
    limits.end(started.pop(), limited())  # it started before the limit was lowered
    assert limits.concurrency == 4
    for each in started:
        limits.end(each, GOOD)
    assert limits.concurrency == 5
    for _ in range(5):
        call(limits, None)  # cancelled calls are ignored
    assert limits.concurrency == 5
    for _ in range(5 + 6 + 7 + 50):
        call(limits)
    assert limits.concurrency == 8
