"""Health probes: their reports, and their effect on the traffic."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from bridge.dispatch.call import Dispatcher
from bridge.dispatch.probes import Probes
from bridge.errors import CircuitBreakerOpen
from tests.dispatch.dispatching import ask, dispatching, endpoint, endpoints_of, new_run, outcomes
from tests.dispatch.gateway import STOPPED, Begin, client, gateway, health, provider, restarted, servers
from tests.guard import GUARD
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import Service, until


@asynccontextmanager
async def probing(dispatcher: Dispatcher) -> AsyncIterator[Probes]:
    """Run the probes of provider `p`."""
    probes = Probes(dispatcher, ("p",))
    task = asyncio.create_task(probes.run())
    try:
        yield probes
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(GUARD):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # polled, because the state of a server or an endpoint has no event


def states(probes: Probes) -> dict[str, tuple[str, str]]:
    """Return the status and the state of the circuit breaker of each endpoint."""
    (entry,) = probes.report()
    return {end["name"]: (end["status"], end["breaker"]) for end in entry["endpoints"] if "breaker" in end}


async def test_an_endpoint_that_is_down_from_the_start_gets_no_call(caplog: pytest.LogCaptureFixture) -> None:
    with servers(1) as (good,):
        listed = [endpoint("a", STOPPED, probe_interval=0.2), endpoint("b", good.url, probe_interval=0.2)]
        async with dispatching(*listed, disabled=("c",)) as dispatcher, probing(dispatcher) as probes:
            await wait_until(lambda: states(probes) == {"a": ("down", "open"), "b": ("up", "closed")})
            runs = [new_run() for _ in range(3)]
            for run in runs:
                await ask(dispatcher, run)
            (entry,) = probes.report()
    assert [outcomes(run) for run in runs] == [[("b", "ok")]] * 3
    assert (entry["name"], entry["kind"], entry["status"], entry["queued"]) == ("p", "vllm", "up", 0)
    first, _, disabled = entry["endpoints"]
    assert (first["error"], disabled) == ("unreachable", {"name": "c", "status": "disabled"})
    assert "127.0.0.1" not in repr(entry)
    assert caplog.text.count("probe of endpoint a of provider p at http://127.") == 1
    assert caplog.text.count("endpoint a of provider p does not respond to probes") == 1


async def test_a_recovered_endpoint_gets_traffic_again(caplog: pytest.LogCaptureFixture) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(OpenAIServer("vllm"))
        async with dispatching(*endpoints_of(server, probe_interval=0.1)) as dispatcher, probing(dispatcher) as probes:
            await wait_until(lambda: states(probes) == {"a": ("up", "closed")})
            await asyncio.to_thread(stack.close)
            await wait_until(lambda: states(probes) == {"a": ("down", "open")})
            with pytest.raises(CircuitBreakerOpen) as raised:
                await ask(dispatcher)
            assert raised.value.retry_after == 5
            with restarted(server.port):
                await wait_until(lambda: states(probes) == {"a": ("up", "half_open")})
                await ask(dispatcher)
                assert states(probes) == {"a": ("up", "closed")}
    assert "endpoint a of provider p responds to probes again" in caplog.text


async def test_a_probe_only_lists_models_with_the_endpoints_key() -> None:
    with OpenAIServer("vllm", key="sk-probe") as server:
        listed = [endpoint("a", server.url, "sk-probe", probe_interval=0.05)]
        async with dispatching(*listed) as dispatcher, probing(dispatcher) as probes:
            await wait_until(lambda: len(server.requests) > 2)
            assert states(probes) == {"a": ("up", "closed")}
    assert {(request.method, request.target) for request in server.requests} == {("GET", "/v1/models")}


@asynccontextmanager
async def load(service: Service, callers: int = 4) -> AsyncIterator["Counter[tuple[int, str]]"]:
    """Request captions continuously, and count them by status and endpoint."""
    counts: Counter[tuple[int, str]] = Counter()
    stop = asyncio.Event()

    async def call(begin: Begin) -> None:
        while not stop.is_set():
            answer = await begin("pair")
            body = answer.json()
            name = body["attempts"][-1]["endpoint"] if answer.is_success else body["code"]
            counts[answer.status_code, name] += 1

    async with client(service) as begin:
        tasks = [asyncio.create_task(call(begin)) for _ in range(callers)]
        try:
            yield counts
        finally:
            stop.set()
            await asyncio.gather(*tasks)


@pytest.mark.slow
async def test_a_hanging_endpoint_gets_no_traffic_until_it_recovers(tmp_path: Path) -> None:
    async def wait_for_captions(name: str, count: int = 5) -> None:
        total = counts[200, name] + count
        await wait_until(lambda: counts[200, name] >= total)

    async def wait_for_state(*expected: str) -> None:
        def is_reached() -> bool:
            entry = health(service, "pair")["endpoints"]["a"]
            return (entry["status"], entry["breaker"]) == expected

        await asyncio.to_thread(until, is_reached)

    with servers(2) as (first, second):
        ends = (f'{{ base_url = "{url}", name = "{name}" }}' for name, url in (("a", first.url), ("b", second.url)))
        with gateway(tmp_path, provider("pair", *ends, probe_interval="1.0", attempt_timeout="1.0")) as service:
            await wait_for_state("up", "closed")
            async with load(service) as counts:
                await wait_for_captions("a")
                await wait_for_captions("b")
                first.default = b.Hold()
                first.listing_script.extend([b.Hang("connect")] * 3)
                await wait_for_state("down", "open")
                await wait_for_captions("b", 20)
                first.default = b.Answer()
                first.release()
                await wait_for_state("up", "closed")
                await wait_for_captions("a")
            assert {status for status, _ in counts} == {200}


@pytest.mark.slow
def test_endpoints_are_counted_in_total_and_per_provider(vllm_server: OpenAIServer, tmp_path: Path) -> None:
    url = vllm_server.url
    disabled = f'{{base_url = "{url}", enabled = false, name = "off"}}'
    toml = provider("pair", url, STOPPED, disabled, probe_interval="0.2") + provider("idle", url)
    with gateway(tmp_path, toml) as service:
        total = {"total": 5, "healthy": 2, "unhealthy": 1}
        until(lambda: service.get("/health").json()["endpoint_counts"] == total)
        counts = {item["name"]: item["endpoint_counts"] for item in service.get("/health").json()["providers"]}
    assert counts == {
        "builtin": {"total": 1, "healthy": 1, "unhealthy": 0},
        "pair": {"total": 3, "healthy": 1, "unhealthy": 1},
        "idle": {"total": 1, "healthy": 0, "unhealthy": 0},
    }
