"""How long a call has to wait for the limits, by what is configured and by what the server says."""

import pytest

from bridge.dispatch.limits import Rate
from providers.hints import Allowance, RateHints


def said(remaining: float, limit: float | None = None, reset: float | None = None) -> RateHints:
    return RateHints(requests=Allowance(remaining, limit, reset))


def tokens_said(remaining: float, limit: float | None = None, reset: float | None = None) -> RateHints:
    return RateHints(tokens=Allowance(remaining, limit, reset))


def call(rate: Rate, now: float, hints: RateHints | None = None, tokens: int | None = None) -> None:
    rate.end(rate.begin(now), now, hints, tokens)
    rate.taken()


def test_without_limits_nothing_waits() -> None:
    rate = Rate()
    for _ in range(1000):
        rate.begin(0)
    assert rate.wait(0) == 0


def test_configured_requests_fit_into_any_minute() -> None:
    rate = Rate(requests=2)
    call(rate, 0)
    call(rate, 50)
    assert rate.wait(50) == pytest.approx(10, abs=0.1)
    assert rate.wait(60.1) == 0
    call(rate, 60.1)
    assert rate.wait(61) == pytest.approx(49, abs=0.1)


def test_configured_tokens_count_what_calls_really_cost() -> None:
    rate = Rate(tokens=1000)
    call(rate, 0, tokens=600)
    assert rate.wait(1) == pytest.approx(59, abs=0.1)  # the next is taken to cost as much
    assert rate.wait(60.1) == 0
    huge = Rate(tokens=100)
    call(huge, 0, tokens=600)
    assert huge.wait(60.1) == 0  # one that never fits goes alone


def test_what_the_server_says_is_left_counts_less_what_is_under_way() -> None:
    rate = Rate()
    first, second = rate.begin(0), rate.begin(0)
    rate.end(first, 0, said(2, 10, 30), None)
    assert rate.wait(0) == 0  # two are left, and the second may not be among those that were counted
    third = rate.begin(0)
    assert rate.wait(0) == pytest.approx(30, abs=0.1)
    rate.end(third, 1, said(1, 10, 29), None)
    rate.end(second, 1, said(5, 10, 29), None)  # older news
    assert rate.wait(1) == pytest.approx(29, abs=0.1)
    assert rate.wait(31) == 0


def test_when_it_is_whole_again_there_is_as_much_as_the_limit() -> None:
    rate = Rate()
    call(rate, 0, said(0, 2, 10))
    assert rate.wait(5) == pytest.approx(5, abs=0.1)
    assert rate.wait(10.1) == 0
    rate.begin(10.1)
    assert rate.wait(10.1) == 0
    rate.begin(10.1)
    assert rate.wait(10.1) > 0


def test_tokens_that_the_server_says_are_left() -> None:
    rate = Rate()
    call(rate, 0, tokens_said(100, 1000, 6), tokens=300)
    assert rate.wait(0) == pytest.approx(6, abs=0.1)
    assert rate.wait(6.1) == 0


@pytest.mark.parametrize(
    ("retry_after", "hints", "pause"),
    [
        (7.0, None, 7),
        (7.0, said(0, 5, 20), 20),  # the limit lasts longer than what it asks for
        (None, said(0, 5, 20), 20),
        (None, said(3, 5, 20), 1),
        (None, None, 1),
    ],
)
def test_a_429_stops_everybody_for_as_long_as_it_says(
    retry_after: float | None, hints: RateHints | None, pause: float
) -> None:
    rate = Rate()
    rate.end(rate.begin(0), 0, hints, None)
    rate.refused(0, retry_after, hints)
    assert rate.wait(0) == pytest.approx(pause, abs=0.1)


def test_a_429_that_says_nothing_waits_longer_each_time() -> None:
    rate, now, waits = Rate(), 0.0, []
    for _ in range(8):
        rate.end(rate.begin(now), now, None, None)
        rate.refused(now, None, None)
        waits.append(round(rate.wait(now)))
        now += rate.wait(now)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    call(rate, now)
    rate.refused(now, None, None)
    assert round(rate.wait(now)) == 1


def test_the_first_call_and_the_first_after_a_429_go_alone() -> None:
    rate = Rate(learns=True)
    assert rate.wait(0) == 0
    first = rate.begin(0)
    assert rate.wait(0) == 3
    assert rate.wait(3.1) == 0  # not for ever
    rate.end(first, 1, None, None)
    rate.taken()
    rate.begin(1)
    assert rate.wait(1) == 0  # it tells of no limit
    rate.refused(1, 5, None)
    assert rate.wait(1) == pytest.approx(5, abs=0.1)
