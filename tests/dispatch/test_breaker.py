"""Closed, open, half-open: what opens a breaker, what closes it, and what says nothing."""

from math import inf

import pytest

from bridge.dispatch.legacy.breaker import Breaker
from bridge.dispatch.legacy.endpoint import Outcome, verdict
from providers import errors
from providers.base import Completion


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(3, 30, clock)


def fail(breaker: Breaker, times: int) -> list[str]:
    states = []
    for _ in range(times):
        breaker.failed(breaker.begin())
        states.append(breaker.state)
    return states


def test_failures_in_a_row_open_it(breaker: Breaker) -> None:
    assert fail(breaker, 2) == ["closed", "closed"]
    breaker.answered(breaker.begin())
    assert fail(breaker, 3) == ["closed", "closed", "open"]
    assert (breaker.state, breaker.admits(), breaker.next_trial()) == ("open", False, 30)


def test_one_trial_decides(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 30
    assert (breaker.state, breaker.admits()) == ("half_open", True)
    trial = breaker.begin()
    assert not breaker.admits()
    breaker.failed(trial)
    assert (breaker.state, breaker.next_trial()) == ("open", 30)
    clock.now += 30
    breaker.answered(breaker.begin())
    assert (breaker.state, breaker.admits()) == ("closed", True)
    assert fail(breaker, 2) == ["closed", "closed"]  # it counts anew


def test_a_trial_whose_client_left_leaves_the_place_to_another(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 30
    breaker.left(breaker.begin())
    assert breaker.admits()


def test_calls_from_before_it_opened_decide_nothing(breaker: Breaker, clock: Clock) -> None:
    early, late = breaker.begin(), breaker.begin()
    fail(breaker, 3)
    breaker.answered(early)
    assert breaker.state == "open"
    clock.now += 30
    trial = breaker.begin()
    breaker.failed(late)
    breaker.left(late)
    assert not breaker.admits()
    breaker.answered(trial)
    assert breaker.state == "closed"


def test_a_probe_shuts_it_until_a_probe_finds_it_alive(breaker: Breaker, clock: Clock) -> None:
    assert breaker.probe_failed(clock.now, 5)
    clock.now += 100
    assert (breaker.state, breaker.admits()) == ("open", False)
    assert breaker.probe_failed(clock.now, 5)
    assert (breaker.next_trial(), breaker.wait()) == (5, inf)
    clock.now += 7  # the next probe is under way
    assert (breaker.next_trial(), breaker.admits()) == (1, False)
    breaker.probe_answered()
    assert (breaker.state, breaker.admits()) == ("half_open", True)
    breaker.answered(breaker.begin())
    assert breaker.state == "closed"


def test_a_probe_that_failed_is_not_believed_when_calls_are_answered(breaker: Breaker, clock: Clock) -> None:
    since = clock.now
    clock.now += 1
    breaker.answered(breaker.begin())
    assert not breaker.probe_failed(since, 5)
    assert breaker.admits()


@pytest.mark.parametrize("silent", [True, False])
def test_a_probe_shortens_the_time_after_calls_that_met_silence(breaker: Breaker, silent: bool) -> None:
    for _ in range(3):
        breaker.failed(breaker.begin(), silent=silent)
    breaker.probe_answered()
    assert breaker.admits() == silent


def test_without_a_number_it_never_opens(clock: Clock) -> None:
    assert fail(Breaker(0, 30, clock), 50) == ["closed"] * 50


ANSWERED, BROKEN, UNKNOWN = (True, False), (False, True), (False, False)


@pytest.mark.parametrize(
    ("outcome", "found"),
    [
        (Completion("{}", "m"), ANSWERED),
        (errors.Refused("x"), ANSWERED),
        (errors.Blocked("x"), ANSWERED),
        (errors.Truncated("x"), ANSWERED),
        (errors.AuthFailed("x", status=401), ANSWERED),
        (errors.RateLimited("x", status=429), ANSWERED),
        (errors.SchemaRejected("x", status=400), ANSWERED),
        (errors.Unavailable("x", status=408), ANSWERED),
        (errors.Unavailable("x", status=503), BROKEN),
        (errors.ServerFailed("x", status=500), BROKEN),
        (errors.Unreachable("x"), BROKEN),
        (errors.CallTimeout("x"), BROKEN),
        (errors.AuthFailed("there was no key to send"), UNKNOWN),
        (errors.BadReply("it broke off"), UNKNOWN),
        (None, UNKNOWN),
    ],
    ids=repr,
)
def test_what_an_outcome_says_of_the_server(outcome: Outcome, found: tuple[bool, bool]) -> None:
    assert verdict(outcome, patient=True) == found


def test_a_caller_who_gives_no_time_says_nothing_of_the_server() -> None:
    assert verdict(errors.CallTimeout("x"), patient=False) == UNKNOWN
