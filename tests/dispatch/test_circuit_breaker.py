"""The circuit breaker: the results that open it, close it or have no effect."""

from math import inf

import pytest

from bridge.dispatch.circuit_breaker import CircuitBreaker
from bridge.dispatch.endpoint import Verdict, verdict
from providers import errors
from providers.base import Completion
from providers.errors import ProviderError
from tests.dispatch.dispatching import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(3, 30, clock)


def fail(breaker: CircuitBreaker, times: int) -> list[str]:
    states: list[str] = []
    for _ in range(times):
        breaker.failed(breaker.start())
        states.append(breaker.state)
    return states


def test_consecutive_failures_open_the_breaker(breaker: CircuitBreaker) -> None:
    assert fail(breaker, 2) == ["closed", "closed"]
    breaker.succeeded(breaker.start())
    assert fail(breaker, 3) == ["closed", "closed", "open"]
    assert (breaker.wait, breaker.retry_after) == (30, 30)


def test_one_trial_call_closes_or_reopens_the_breaker(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 30
    assert (breaker.state, breaker.wait) == ("half_open", 0)
    trial = breaker.start()
    assert (breaker.state, breaker.wait) == ("half_open", inf)
    breaker.failed(trial)
    assert (breaker.state, breaker.wait, breaker.retry_after) == ("open", 30, 30)
    clock.now += 30
    breaker.released(breaker.start())  # cancelled: the next call is the trial
    breaker.succeeded(breaker.start())
    assert (breaker.state, breaker.wait) == ("closed", 0)
    assert fail(breaker, 2) == ["closed", "closed"]


def test_calls_that_started_before_the_breaker_opened_are_ignored(breaker: CircuitBreaker, clock: Clock) -> None:
    early, late = breaker.start(), breaker.start()
    fail(breaker, 3)
    breaker.succeeded(early)
    assert breaker.wait
    clock.now += 30
    trial = breaker.start()
    breaker.failed(late)
    breaker.released(late)
    assert breaker.wait
    breaker.succeeded(trial)
    assert breaker.state == "closed"


@pytest.mark.parametrize(
    ("digests", "state"),
    [
        (["a1", "a1", "a1", "a1", "a1"], "closed"),  # one request, repeated
        (["a1", "b1", "c1", "d1", "e1"], "closed"),  # one schema, with many images
        (["a1", "a2", "a3", "a4", "a5"], "closed"),  # one image, with many schemas
        (["a1", "b2", "b3", "a4"], "closed"),
        (["a1", "b2"], "closed"),
        (["a1", "b2", "c3"], "open"),
        (["a1", "a1", "b2", "b3", "c3"], "open"),
        (["a1", "b2", "ok", "c3", "d4"], "closed"),
    ],
)
def test_500s_count_after_three_different_requests(breaker: CircuitBreaker, digests: list[str], state: str) -> None:
    """A digest is an image (letter) and a schema (number)."""
    for digest in digests:
        epoch = breaker.start()
        if digest == "ok":
            breaker.succeeded(epoch)
        else:
            breaker.server_error(epoch, digest[0].encode(), digest[1].encode())
    assert breaker.state == state


@pytest.mark.parametrize("limit", [3, 0])
def test_a_500_in_a_trial_allows_another_trial(clock: Clock, limit: int) -> None:
    breaker = CircuitBreaker(limit, 30, clock)
    breaker.probe_failed(clock.now)
    breaker.probe_succeeded()
    breaker.server_error(breaker.start(), b"image", b"schema")
    assert (breaker.state, breaker.wait) == ("half_open", 0)


def test_a_failed_probe_keeps_the_breaker_open_until_a_probe_succeeds(breaker: CircuitBreaker, clock: Clock) -> None:
    assert breaker.probe_failed(clock.now)
    clock.now += 100
    assert (breaker.state, breaker.wait, breaker.retry_after) == ("open", inf, 5)
    breaker.probe_succeeded()
    assert (breaker.state, breaker.wait) == ("half_open", 0)
    breaker.succeeded(breaker.start())
    assert breaker.state == "closed"


@pytest.mark.parametrize("silent", [True, False])
def test_a_probe_allows_a_trial_only_after_connection_failures(breaker: CircuitBreaker, silent: bool) -> None:
    for _ in range(3):
        breaker.failed(breaker.start(), silent=silent)
    breaker.probe_succeeded()
    assert (breaker.wait == 0) == silent


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (Completion("{}", "m"), "up"),
        (errors.Truncated("x"), "up"),
        (errors.RateLimited("x", status=429), "up"),
        (errors.Unavailable("x", status=408), "up"),
        (errors.Unavailable("x", status=503), "down"),
        (errors.ServerFailed("x", status=502), "down"),
        (errors.ServerFailed("x", status=500), "server_error"),
        (errors.Unreachable("x"), "down"),
        (errors.CallTimeout("x"), "down"),
        (errors.AuthFailed("no key to send"), "unknown"),
        (errors.ResponseInterrupted("x"), "unknown"),
        (None, "unknown"),
    ],
    ids=repr,
)
def test_verdict_of_a_result(result: Completion | ProviderError | None, expected: Verdict) -> None:
    assert verdict(result, patient=True) == expected
    if isinstance(result, errors.CallTimeout):
        assert verdict(result, patient=False) == "unknown"
