"""Endpoints that stop, slow down and come back while captions are asked for: no caption is lost."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from bridge.config import EndpointSettings, Fleet
from bridge.deadline import Deadline
from bridge.dispatch.legacy.endpoint import Endpoint
from bridge.dispatch.legacy.endpoints import Endpoints, Route
from bridge.dispatch.legacy.probes import Probes
from providers.base import BaseClient, Completion, ProviderConfig
from providers.errors import Unreachable
from tests.dispatch.gateway import ask, client, gateway, health, provider, revived, servers, stopped, tried, until
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import Service

Found = Counter[tuple[int, str]]
INTERVAL = 1.0
GUARD = 10 * INTERVAL
"""Traffic moves within one interval, and comes back within two: `benchmarks failover` measures it."""


@pytest.fixture
def pair() -> Iterator[tuple[OpenAIServer, OpenAIServer]]:
    with servers(2) as (a, other):
        yield a, other


def table(a: str, other: str, timeout: float = 15, **keys: str) -> str:
    ends = (f'{{ base_url = "{url}", name = "{name}", timeout = {timeout} }}' for name, url in (("a", a), ("b", other)))
    breaker = "{ failures = 2, open_seconds = 60 }"
    return provider("pair", *ends, probe_interval=str(INTERVAL), breaker=breaker, **keys)


def state(service: Service, name: str = "a") -> tuple[str, str]:
    one = health(service, "pair")["endpoints"][name]
    return one["status"], one["breaker"]


@asynccontextmanager
async def load(service: Service, at_once: int = 4) -> AsyncIterator[Found]:
    """Captions without a pause for as long as it lasts; counts how each ended and who made it."""
    found: Found = Counter()
    over = asyncio.Event()

    async def one_after_another(begin: Callable[..., "asyncio.Task[httpx.Response]"]) -> None:
        while not over.is_set():
            answer = await begin("pair")
            made = answer.json()
            found[answer.status_code, made["attempts"][-1]["endpoint"] if answer.is_success else made["code"]] += 1

    async with client(service) as begin:
        workers = [asyncio.create_task(one_after_another(begin)) for _ in range(at_once)]
        try:
            yield found
        finally:
            over.set()
            await asyncio.gather(*workers)


async def reach(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(until, condition, GUARD)


async def more(found: Found, who: str, count: int = 5) -> None:
    """Until so many more captions came from there."""
    enough = found[200, who] + count
    await reach(lambda: found[200, who] >= enough)


@pytest.mark.slow
async def test_a_stopped_endpoint_loses_its_traffic_and_gets_it_back(tmp_path: Path) -> None:
    with servers(1) as (other,), ExitStack() as stack:
        first = stack.enter_context(OpenAIServer("vllm"))
        with gateway(tmp_path, table(first.url, other.url)) as service:
            await reach(lambda: state(service) == ("up", "closed"))
            async with load(service) as found:
                await more(found, "a")
                await more(found, "b")
                await asyncio.to_thread(stack.close)
                await reach(lambda: state(service) == ("down", "open"))
                assert tried(ask(service, "pair")) == [("b", "ok")]
                before = found[200, "a"]
                await more(found, "b")
                assert found[200, "a"] <= before + 4  # those that had ended and were not counted yet
                with revived(first.port):
                    await reach(lambda: state(service) == ("up", "closed"))
                    await more(found, "a")
                    await asyncio.to_thread(service.wait_for_log, "endpoint a of provider pair answers its probe again")
                    said = service.log  # when it is gone for good, that is told once more
            assert {status for status, _ in found} == {200}
            assert said.count("endpoint a of provider pair does not answer its probe") == 1
            assert said.count("endpoint a of provider pair answers its probe again") == 1


@pytest.mark.slow
async def test_a_slow_endpoint_loses_its_traffic_and_gets_it_back(
    tmp_path: Path, pair: tuple[OpenAIServer, OpenAIServer]
) -> None:
    a, other = pair
    with gateway(tmp_path, table(a.url, other.url, timeout=1)) as service:
        await reach(lambda: state(service) == ("up", "closed"))
        async with load(service) as found:
            await more(found, "a")
            a.default = b.Hang("connect")
            await reach(lambda: health(service, "pair")["endpoints"]["a"]["breaker"] != "closed")
            await more(found, "b")
            a.default = b.Answer()
            await reach(lambda: state(service)[1] == "closed")  # a probe let one call try, and it was answered
            await more(found, "a")
        assert {status for status, _ in found} == {200}


@pytest.mark.slow
async def test_an_endpoint_that_hangs_loses_its_traffic_by_its_probe_alone(
    tmp_path: Path, pair: tuple[OpenAIServer, OpenAIServer]
) -> None:
    """Its calls have no end that would tell, and its turn comes whether it has calls or not."""
    a, other = pair
    with gateway(tmp_path, table(a.url, other.url, timeout=15, strategy='"round_robin"')) as service:
        await reach(lambda: state(service) == ("up", "closed"))
        async with load(service) as found:
            await more(found, "a")
            a.default = b.Hold()
            a.listing_script.extend([b.Hang("connect")] * 3)
            await reach(lambda: state(service) == ("down", "open"))
            came = len(a.calls)
            if came < 4:  # else all four callers wait there
                await more(found, "b", 20)
            assert len(a.calls) == came
            a.default = b.Answer()
            a.release()
            await reach(lambda: state(service) == ("up", "closed"))
            await more(found, "a")
        assert {status for status, _ in found} == {200}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, OpenAIServer]]:
    """A service whose provider `pair` has a dead endpoint, beside one that is dead, one with a key, and an odd one."""
    with servers(2) as (good, odd), OpenAIServer("vllm", key="sk-probe") as keyed:
        odd.listing_script.extend([b.Status(404)] * 10_000)
        quick = {"probe_interval": "0.2"}
        text = (
            table(stopped(), good.url)
            + provider("off", stopped(), **quick)
            + provider("odd", odd.url, **quick)
            + provider("keyed", f'{{ base_url = "{keyed.url}", api_key = "sk-probe" }}', **quick)
        )
        with gateway(tmp_path_factory.mktemp("workspace"), text) as service:
            yield service, keyed


def test_an_endpoint_that_was_dead_from_the_start_gets_no_call(watched: tuple[Service, OpenAIServer]) -> None:
    service, _ = watched
    until(lambda: state(service) == ("down", "open"))
    until(lambda: health(service, "off")["status"] == "down")
    assert [tried(ask(service, "pair")) for _ in range(3)] == [[("b", "ok")]] * 3
    refused = ask(service, "off")
    assert (refused.status_code, refused.json()["code"]) == (503, "provider_unavailable")
    assert refused.json()["retry_after"] == 1  # the next probe comes sooner, and takes its time
    assert "does not answer" in refused.json()["detail"]


def test_models_are_asked_of_an_endpoint_that_is_alive(watched: tuple[Service, OpenAIServer]) -> None:
    service, _ = watched
    until(lambda: state(service) == ("down", "open"))
    listed = httpx.get(f"{service.url}/providers/pair/models", timeout=20, trust_env=False).json()
    assert [one["id"] for one in listed["models"]] == ["tiny-vision"]


def test_health_tells_of_providers_and_endpoints_and_stays_healthy(watched: tuple[Service, OpenAIServer]) -> None:
    service, _ = watched
    until(lambda: state(service) == ("down", "open"))
    until(lambda: state(service, "b") == ("up", "closed"))
    until(lambda: health(service, "off")["status"] == "down")
    told = httpx.get(f"{service.url}/health", trust_env=False).json()
    assert told["status"] == "healthy"
    found = health(service, "pair")
    assert (found["status"], found["kind"], found["queued"]) == ("up", "vllm", 0)
    assert found["endpoints"]["a"]["error"] == "unreachable"
    assert {"name", "kind", "status", "checked_at", "error"} <= health(service, "off").keys()


def test_health_names_no_address_and_the_log_says_once_what_happened(watched: tuple[Service, OpenAIServer]) -> None:
    service, _ = watched
    until(lambda: state(service) == ("down", "open"))
    told = health(service, "pair")
    assert not {"127.0.0.1", "http"} & set(re.split("[^a-z0-9.]+", repr(told)))
    service.wait_for_log(failed := "probe of endpoint a of provider pair at http://127.")
    assert service.log.count(failed) == 1


async def test_a_probe_that_is_not_believed_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    listed = (EndpointSettings("a", ProviderConfig("p", "vllm", "http://gpu/v1"), probe_interval=30),)
    of = Endpoints("p", Fleet(listed), 8, time.monotonic)

    async def client(endpoint: Endpoint) -> BaseClient:
        of.leave(await of.enter(Route(of, of.all), Deadline(5), nobody), Completion("{}", "m"))  # while it is probed
        raise Unreachable("It is gone.")

    probes = Probes((of,), client)
    running = asyncio.create_task(probes.run())
    await reach(lambda: bool(probes.found))
    running.cancel()
    assert (probes.dead, of.report().endpoints[0].breaker) == (set(), "closed")
    assert "does not answer its probe" not in caplog.text


async def nobody() -> None:
    """Nobody wants to know."""


def test_a_probe_is_free_and_carries_the_endpoints_own_key(watched: tuple[Service, OpenAIServer]) -> None:
    service, keyed = watched
    until(lambda: len(keyed.requests) > 2)
    assert health(service, "keyed")["status"] == "up"
    assert {(one.method, one.target) for one in keyed.requests} == {("GET", "/v1/models")}


def test_an_endpoint_that_answers_with_an_error_is_told_and_still_asked(watched: tuple[Service, OpenAIServer]) -> None:
    service, _ = watched
    until(lambda: health(service, "odd")["status"] == "down")
    assert ask(service, "odd").status_code == 200
