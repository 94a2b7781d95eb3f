"""Repeats are for what a repeat may cure, inside the deadline and the four calls."""

import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from bridge.config import EndpointSettings, Fleet
from bridge.deadline import Deadline
from bridge.dispatch.legacy.attempts import Calls, Line
from bridge.dispatch.legacy.endpoint import Endpoint, outcome
from bridge.dispatch.legacy.endpoints import Endpoints, Route
from bridge.network import AddressRefused
from providers import errors
from providers.base import Complete, Completion, ProviderConfig, VisionRequest
from providers.usage import Usage

REQUEST = VisionRequest(model="m", prompt="p", timeout=1)


class Server:
    """Answers from a script and notes what it was asked."""

    def __init__(self, *script: Exception | Completion) -> None:
        self.script: Sequence[Exception | Completion] = script
        self.asked: list[VisionRequest] = []

    async def complete(self, request: VisionRequest) -> Completion:
        self.asked.append(request)
        step = self.script[min(len(self.asked), len(self.script)) - 1]
        if isinstance(step, Exception):
            raise step
        return step


GOOD = Completion("{}", "m", Usage(10, 2), ("careful",))


def line(server: Server, seconds: float = 30, slowest: float = 0, **extra: float) -> Line:
    endpoints = Endpoints(
        "p", Fleet((EndpointSettings("a", ProviderConfig("p", "vllm", models=("listed",))),)), 8, time.monotonic
    )
    endpoints.slowest = slowest

    async def at(endpoint: Endpoint) -> Complete:
        return server.complete

    return Line("p", Route(endpoints, endpoints.all), at, Calls(), Deadline(seconds), **extra)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error",
    [
        errors.Unreachable("x"),
        errors.RateLimited("x", retry_after=0.01),
        errors.Unavailable("x"),
        errors.ServerFailed("x"),
    ],
)
async def test_a_failed_line_is_tried_again(error: errors.ProviderError) -> None:
    server = Server(error, GOOD)
    one = line(server)
    assert await one.ask(REQUEST) is GOOD
    assert [call.outcome for call in one.calls.made] == [outcome(error), "ok"]
    assert one.calls.usage == Usage(10, 2)
    assert one.calls.warnings == ["careful"]


@pytest.mark.parametrize(
    "error",
    [
        errors.AuthFailed("x"),
        errors.QuotaExceeded("x"),
        errors.UnknownModel("x"),
        errors.WrongPath("x"),
        errors.RequestRejected("x"),
        errors.SchemaRejected("x"),
        errors.ContextTooLong("x"),
        errors.Refused("x"),
        errors.Blocked("x"),
        errors.Truncated("x", usage=Usage(5, 5)),
        errors.CallTimeout("x"),
    ],
)
async def test_what_a_repeat_would_not_cure_ends_at_once(error: errors.ProviderError) -> None:
    server = Server(error)
    one = line(server)
    with pytest.raises(type(error)):
        await one.ask(REQUEST)
    assert len(server.asked) == 1
    assert one.calls.usage == error.usage


async def test_where_it_failed_is_not_asked_again_while_another_is_there() -> None:
    asked: list[str] = []
    listed = tuple(
        EndpointSettings(name, ProviderConfig("p", "vllm"), weight) for name, weight in (("a", 99), ("b", 1))
    )
    endpoints = Endpoints("p", Fleet(listed, "weighted"), 8, time.monotonic)

    async def at(endpoint: Endpoint) -> Complete:
        asked.append(endpoint.name)
        return Server(errors.ServerFailed("x", retry_after=0)).complete

    with pytest.raises(errors.ServerFailed):
        await Line("p", Route(endpoints, endpoints.all), at, Calls(), Deadline(30)).ask(REQUEST)
    assert asked == ["a", "b", "a", "b"]


async def test_a_timeout_is_cured_elsewhere_alone() -> None:
    asked: list[str] = []
    listed = tuple(EndpointSettings(name, ProviderConfig("p", "vllm"), timeout=1) for name in "ab")
    endpoints = Endpoints("p", Fleet(listed, "round_robin"), 8, time.monotonic)

    async def at(endpoint: Endpoint) -> Complete:
        asked.append(endpoint.name)
        return Server(errors.CallTimeout("x")).complete

    with pytest.raises(errors.CallTimeout):
        await Line("p", Route(endpoints, endpoints.all), at, Calls(), Deadline(30)).ask(REQUEST)
    assert asked == ["a", "b"]


async def test_no_more_than_three_calls_on_one_line() -> None:
    server = Server(errors.Unavailable("x", retry_after=0))
    with pytest.raises(errors.Unavailable):
        await line(server).ask(REQUEST)
    assert len(server.asked) == 3


async def test_calls_are_kept_for_the_targets_that_follow() -> None:
    server = Server(errors.Unavailable("x", retry_after=0))
    with pytest.raises(errors.Unavailable):
        await line(server, reserve=3).ask(REQUEST)
    assert len(server.asked) == 1


async def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    server = Server(errors.RateLimited("x", retry_after=60))
    with pytest.raises(errors.RateLimited) as raised:
        await line(server, seconds=5).ask(REQUEST)
    assert raised.value.retry_after == 60
    assert len(server.asked) == 1


async def test_a_call_gets_what_is_left_or_its_own_bound() -> None:
    server = Server(GOOD)
    await line(server, seconds=5).ask(REQUEST)
    await line(server, seconds=5, timeout=2).ask(REQUEST)
    assert 4 < server.asked[0].timeout <= 5
    assert server.asked[1].timeout == 2


async def test_a_refused_address_is_not_tried_again() -> None:
    """Another try would be another look-up, and perhaps another answer."""
    error = errors.Unreachable("x")
    error.__cause__ = AddressRefused("no", host="a", kind="metadata")
    server = Server(error, GOOD)
    with pytest.raises(errors.Unreachable):
        await line(server).ask(REQUEST)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({"reserve": 1}, 30),  # a stand-in for refusals alone is not asked after a hang
        ({"reserve": 1, "spare": True}, 20),
        ({"reserve": 1, "spare": True, "slowest": 1}, 15),
        ({"reserve": 1, "spare": True, "slowest": 5.5}, 22),
        ({"reserve": 1, "spare": True, "slowest": 20}, 24),  # however slow it is, the stand-in keeps some
        ({"reserve": 1, "spare": True, "slowest": 1, "timeout": 25}, 25),  # who set it knows how slow it may be
        ({"reserve": 1, "spare": True, "slowest": 1, "timeout": 40}, 15),
    ],
)
async def test_a_hang_takes_a_share_where_somebody_else_can_be_asked(given: dict[str, float], seconds: float) -> None:
    server = Server(GOOD)
    await line(server, **given).ask(REQUEST)
    assert server.asked[0].timeout == pytest.approx(seconds, abs=0.1)


async def test_a_call_that_was_cut_short_gives_the_next_more_time() -> None:
    server = Server(errors.CallTimeout("x"), GOOD)
    one = line(server, reserve=1, spare=True, slowest=1)
    with pytest.raises(errors.CallTimeout):
        await one.ask(REQUEST)
    await one.ask(REQUEST)
    assert [asked.timeout for asked in server.asked] == pytest.approx([15, 20], abs=0.1)


@pytest.mark.parametrize(
    ("error", "model", "slowest", "avoided"),
    [
        (errors.AuthFailed("x"), "m", 0, True),
        (errors.UnknownModel("x"), "listed", 0, True),
        (errors.UnknownModel("x"), "a typo", 0, False),
        (errors.CallTimeout("x"), "m", 0, False),  # it had little time, and nobody knows how long it takes
        (errors.CallTimeout("x"), "m", 0.5, False),
        (errors.CallTimeout("x"), "m", 0.2, True),
        (errors.RequestRejected("x"), "m", 0, False),
    ],
)
async def test_only_what_is_wrong_with_an_endpoint_makes_others_better(
    error: errors.ProviderError, model: str, slowest: float, avoided: bool
) -> None:
    one = line(Server(error), seconds=1, slowest=slowest)
    with pytest.raises(errors.ProviderError):
        await one.ask(replace(REQUEST, model=model))
    (endpoint,) = one.route.endpoints.all
    assert endpoint.is_avoided(time.monotonic()) == avoided
