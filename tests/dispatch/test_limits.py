"""How long a call has to wait for the limits, by what is configured and by what the server says."""

from collections import Counter
from collections.abc import Callable
from math import ceil, floor, inf

import pytest

from bridge.dispatch.legacy.limits import Rate, Sent
from providers.hints import Allowance, RateHints


def said(remaining: float, limit: float | None = None, reset: float | None = None) -> RateHints:
    return RateHints(requests=Allowance(remaining, limit, reset))


def tokens_said(remaining: float, limit: float | None = None, reset: float | None = None) -> RateHints:
    return RateHints(tokens=Allowance(remaining, limit, reset))


def call(rate: Rate, now: float, hints: RateHints | None = None, tokens: int | None = None) -> None:
    sent = rate.begin(now)
    rate.end(sent, now, hints, tokens)
    rate.taken(sent, now)


def refused(rate: Rate, now: float, retry_after: float | None, hints: RateHints | None = None) -> None:
    sent = rate.begin(now)
    rate.end(sent, now, hints, None)
    rate.refused(sent, now, retry_after, hints)


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
        (7.5, None, 7.5),
        (7.0, None, 8),  # whole seconds may have been rounded down
        (0.0, None, 1),
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
    refused(rate, 0, retry_after, hints)
    assert rate.wait(0) == pytest.approx(pause, abs=0.1)


def test_a_429_that_says_nothing_waits_longer_each_time() -> None:
    rate, now, waits = Rate(), 0.0, []
    for _ in range(8):
        refused(rate, now, None)
        waits.append(round(rate.wait(now)))
        now += rate.wait(now)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    call(rate, now)
    refused(rate, now, None)
    assert round(rate.wait(now)) == 1


def test_the_first_call_and_the_first_after_a_429_go_alone() -> None:
    rate = Rate(learns=True)
    assert rate.wait(0) == 0
    first = rate.begin(0)
    assert rate.wait(0) == 1
    rate.end(first, 1, said(9, 10, 60), None)
    rate.taken(first, 1)
    assert rate.wait(1) == 0
    slow = rate.begin(1)
    assert rate.wait(1) == 0
    refused(rate, 2, 5.01)
    assert rate.limited(2) == pytest.approx(5, abs=0.1)
    assert rate.wait(2) == pytest.approx(6, abs=0.2)  # one is still under way
    rate.end(slow, 8, None, None)
    assert leave(rate, 8) == 1


def leave(rate: Rate, now: float) -> int:
    """How many leave now."""
    many = 0
    while rate.wait(now) <= 0 and many < 100:
        rate.begin(now)
        many += 1
    return many


def test_while_no_answer_comes_one_more_goes_each_second() -> None:
    rate = Rate(learns=True)
    assert [leave(rate, now) for now in (0, 0.9, 1, 1.9, 2, 4)] == [1, 0, 1, 0, 1, 1]


def test_each_answer_that_tells_no_limit_lets_one_more_go_but_never_two_at_once() -> None:
    rate = Rate(learns=True)
    for now in (0, 1, 2, 3):
        call(rate, now)
    assert [leave(rate, 4 + tenths / 10) for tenths in range(7)] == [1, 1, 1, 1, 1, 0, 0]


def test_a_server_that_never_tells_a_limit_has_none() -> None:
    rate = Rate(learns=True)
    for now in range(32):
        assert not rate.learning
        call(rate, now)
    assert leave(rate, 33) == 100
    assert not rate.learning


def test_one_goes_alone_until_it_is_known_what_a_call_costs() -> None:
    rate = Rate(tokens=2000)
    first = rate.begin(0)
    assert (rate.wait(1), rate.wait(500), rate.limited(500)) == (inf, inf, 0)
    rate.end(first, 500, None, None)  # it failed, and nobody knows what it cost
    second = rate.begin(500)
    assert rate.wait(501) == inf
    rate.end(second, 502, None, 600)
    assert leave(rate, 502) == 2


def used_up(window: float = 60) -> Rate:
    """The limits of a server that took five, then said 429 and when to come back, and nothing of its limit."""
    rate = Rate(learns=True)
    for _ in range(5):
        call(rate, 0)
    refused(rate, 10, window - 9.99)
    return rate


def test_a_429_that_tells_no_limit_tells_how_many_a_window_takes() -> None:
    rate = used_up()
    assert rate.wait(59) > 0
    call(rate, 61)
    assert leave(rate, 62) == 4
    assert rate.wait(62) == pytest.approx(59, abs=0.1)


def test_a_window_that_was_longer_than_thought_is_mended() -> None:
    rate = used_up(20)
    refused(rate, 21, 39.01)
    call(rate, 61)
    assert leave(rate, 62) == 4
    assert rate.wait(62) == pytest.approx(59, abs=0.1)


def test_a_window_begins_with_the_first_call_after_a_429() -> None:
    rate = used_up(20)
    for _ in range(3):
        call(rate, 30)
    refused(rate, 31, 10.01)
    call(rate, 41.1)
    assert leave(rate, 42) == 2
    assert rate.wait(42) == pytest.approx(10, abs=0.2)


def test_what_a_429_gave_away_holds_until_a_hint_says_otherwise() -> None:
    rate = used_up()
    call(rate, 61, said(50, 60, 60))
    assert leave(rate, 62) == 50


def test_what_a_429_gave_away_is_not_believed_for_ever() -> None:
    rate = used_up()
    call(rate, 61)
    for now in range(62, 662, 30):
        call(rate, now)
    assert leave(rate, 700) == 1
    assert leave(rate, 703.1) == 1


Tells = Callable[[float, float, float], tuple[RateHints | None, float]]
"""What a server says of what is left, its limit and the seconds until it is whole: in each reply, and in a 429."""
TELLS: dict[str, Tells] = {
    "to the millisecond": lambda left, limit, reset: (said(left, limit, reset), reset),
    "rounded down": lambda left, limit, reset: (said(left, limit, floor(reset)), floor(reset)),
    "rounded up": lambda left, limit, reset: (said(left, limit, ceil(reset)), ceil(reset)),
    "no reset": lambda left, limit, reset: (said(left, limit), reset),
    "in a 429 alone": lambda left, limit, reset: (None, reset),
    "in a 429 alone, rounded down": lambda left, limit, reset: (None, floor(reset)),
}


@pytest.mark.parametrize("seconds", [0.2, 1, 4, 25])
@pytest.mark.parametrize("limit", [1, 2, 5, 12])
@pytest.mark.parametrize("tells", TELLS.values(), ids=TELLS)
def test_a_crowd_runs_into_a_servers_limit_once_in_a_window(limit: int, seconds: float, tells: Tells) -> None:
    """Twenty at once, `limit` a minute, answers after `seconds`, and a 429 after 50 ms."""
    rate, now, waiting = Rate(learns=True), 7.3, 20
    under_way: list[tuple[float, int, Sent, bool]] = []
    served, refusals = Counter[int](), Counter[int]()
    while waiting or under_way:
        while waiting and rate.wait(now) <= 0:
            sent, minute = rate.begin(now), int(now // 60)
            good = served[minute] < limit
            (served if good else refusals)[minute] += 1
            under_way.append((now + (seconds if good else 0.05), sent.number, sent, good))
            waiting -= 1
        now += 0.05
        for one in sorted(one for one in under_way if one[0] <= now):
            under_way.remove(one)
            _, _, sent, good = one
            hints, retry_after = tells(limit - served[int(now // 60)], limit, 60 - now % 60)
            rate.end(sent, now, hints, None)
            if good:
                rate.taken(sent, now)
            else:
                rate.refused(sent, now, retry_after, hints)
                waiting += 1
    assert sum(served.values()) == 20
    assert max(served) <= 1.2 * 20 / limit + 1  # nearly as soon as it can be
    assert max(refusals.values(), default=0) <= 1
    if tells is TELLS["to the millisecond"] and seconds < 1:
        assert not refusals


def test_many_that_are_refused_together_are_one_refusal() -> None:
    rate = Rate()
    crowd = [rate.begin(0) for _ in range(8)]
    for sent in crowd:
        rate.end(sent, 0.1, None, None)
        rate.refused(sent, 0.1, None, None)
    assert rate.wait(0.1) == pytest.approx(1, abs=0.1)


def test_near_the_limit_of_tokens_calls_go_one_by_one() -> None:
    """Nobody knows what the next costs: 429s come sooner than a tenth of a second, and stop those behind."""
    rate = Rate()
    call(rate, 0, tokens_said(1_000_000, 1_000_000, 60.5), tokens=500)
    assert leave(rate, 0) == 100
    call(rate, 1, tokens_said(9_000, 1_000_000, 59.5), tokens=500)
    assert [leave(rate, 1 + tenths / 10) for tenths in (1, 2)] == [0, 0]  # a hundred are under way
    near = Rate()
    call(near, 0, tokens_said(9_000, 1_000_000, 60.5), tokens=500)
    assert [leave(near, tenths / 10) for tenths in (0, 1, 2)] == [0, 1, 1]


def test_the_dearest_call_is_what_the_next_is_taken_to_cost() -> None:
    rate = Rate()
    call(rate, 0, tokens_said(10_000, 10_000, 60.5), tokens=900)
    call(rate, 1, tokens_said(1_000, 10_000, 59.5), tokens=100)
    assert leave(rate, 2) == 1
    assert rate.wait(3) > 50


def test_what_an_older_call_tells_lets_no_crowd_go() -> None:
    rate = Rate(learns=True)
    old, new = rate.begin(0), rate.begin(1)
    rate.end(new, 2, said(3, None, 60.5), None)
    rate.taken(new, 2)
    refused(rate, 3, 5.5, said(0, None, 5.5))
    rate.end(old, 9, said(2, None, 60.5), None)
    rate.taken(old, 9)
    assert leave(rate, 9) == 1


def test_no_server_is_left_alone_for_ever() -> None:
    rate = Rate()
    refused(rate, 0, 1e308)
    assert rate.wait(0) == pytest.approx(3600, abs=1)
    call(rate, 3700, said(0, 5, 1e12))
    assert rate.wait(3700) == pytest.approx(3600, abs=1)


def test_a_limit_of_a_window_whose_begin_was_not_seen_is_believed_for_one() -> None:
    """Others, or we before a restart, may have used most of it."""
    rate = Rate(learns=True)
    call(rate, 50)
    refused(rate, 51, 9.5)
    call(rate, 61)
    assert leave(rate, 75) == 1
    for now in (76, 77, 78):
        call(rate, now)
    assert rate.wait(79) < 1
