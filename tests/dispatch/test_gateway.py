"""The service in front of several model servers: what its callers see."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx
import pytest

from tests.dispatch.gateway import STOPPED, ask, client, gateway, health, provider, refusal, servers, tried
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.servers.rate_limited import RateLimitedServer
from tests.service import Service, until


@dataclass
class Running:
    """The service and its servers."""

    service: Service
    a: OpenAIServer
    b: OpenAIServer
    limited: RateLimitedServer
    silent: RateLimitedServer


def toml(a: OpenAIServer, other: OpenAIServer, limited: RateLimitedServer, silent: RateLimitedServer) -> str:
    first, second = f'{{ base_url = "{a.url}", name = "a" }}', f'{{ base_url = "{other.url}", name = "b" }}'
    turns = '"round_robin"'
    return "".join(
        (
            provider("half", f'{{ base_url = "{STOPPED}", name = "dead" }}', second, strategy=turns),
            provider("pair", first, second, strategy=turns),
            provider("frail", first, breaker="{ failures = 2, open_seconds = 60 }"),
            provider("narrow", second, max_concurrency="1"),
            provider("seldom", first, requests_per_minute="2"),
            provider("limited", limited.url, kind='"openai"', api_key='"sk-limited"'),
            provider("silent", silent.url, kind='"openai"', api_key='"sk-limited"'),
            provider("backed", first, fallbacks='[{ provider = "narrow" }]', strategy=turns),
            provider("prudish", first, fallbacks='[{ provider = "half", on = "refusal" }]'),
        )
    )


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    # Windows that are long for a call and short for a test.
    limited, silent = RateLimitedServer(2, 0.4), RateLimitedServer(4, 0.6, announces=False)
    with servers(2) as (a, other), limited, silent:
        text = toml(a, other, limited, silent)
        environment = {"GRAPHCAP_MAX_QUEUE": "4", "GRAPHCAP_TIMEOUT": "60"}
        with gateway(tmp_path_factory.mktemp("workspace"), text, **environment) as service:
            assert ask(service, "pair").status_code == 200  # imports the SDK and starts the image worker
            yield Running(service, a, other, limited, silent)


@pytest.fixture
def running(started: Running) -> Running:
    for server in (started.a, started.b):
        server.script.clear()
        server.calls.clear()
        server.default = b.Answer()
    return started


def test_another_endpoint_answers_for_one_that_is_down(running: Running) -> None:
    assert tried(ask(running.service, "half")) == [("dead", "unreachable"), ("b", "ok")]


@pytest.mark.slow
def test_a_fallback_answers_for_a_provider_that_hangs(running: Running) -> None:
    running.a.default = b.Hang("connect")
    assert tried(ask(running.service, "backed", timeout=10)) == [("a", "call_timeout"), ("b", "ok")]


def test_fallbacks_of_the_request_replace_the_configured_ones(running: Running) -> None:
    running.a.default = b.Status(401)
    assert ask(running.service, "backed").json()["provider"] == "narrow"
    assert refusal(ask(running.service, "backed", fallbacks=[])) == (502, "provider_auth")
    assert ask(running.service, "backed", fallbacks=[{"provider": "half"}]).json()["provider"] == "half"


def test_a_fallback_for_refusals_alone(running: Running) -> None:
    running.a.default = b.Status(401)
    assert refusal(ask(running.service, "prudish")) == (502, "provider_auth")
    running.a.default = b.Refusal()
    assert ask(running.service, "prudish").json()["provider"] == "half"


def test_an_open_circuit_breaker_is_a_503_with_retry_after(running: Running) -> None:
    running.a.default = b.Status(503)
    assert refusal(ask(running.service, "frail")) == (503, "provider_unavailable")
    calls = len(running.a.calls)
    answer = ask(running.service, "frail")
    assert refusal(answer) == (503, "provider_unavailable")
    assert 0 < answer.json()["retry_after"] <= 60
    assert 0 < float(answer.headers["retry-after"]) <= 60
    assert len(running.a.calls) == calls == 2
    assert ask(running.service, "frail", fallbacks=[{"provider": "half"}]).json()["provider"] == "half"


async def test_the_queue_is_bounded_and_admits_callers_in_turn(running: Running) -> None:
    """Send three calls from one address and two from another; the last of the first waits for both of the second."""
    running.b.default = b.Hold()
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(client(running.service, f"127.0.0.{n}")) for n in (1, 2)]
        held = [first("narrow", seed=0)]
        await asyncio.to_thread(running.b.wait_for_calls, 1)
        for queued, begin in enumerate((first, first, second, second), 1):
            held.append(begin("narrow", seed=queued))
            await asyncio.to_thread(until, lambda n=queued: health(running.service, "narrow")["queued"] == n)
        rejected = await first("narrow", seed=9)
        assert refusal(rejected) == (503, "overloaded")
        assert rejected.headers["retry-after"] == "1"
        running.b.release()
        assert [(await task).status_code for task in held] == [200] * 5
    assert [call.options["seed"] for call in running.b.calls] == [0, 1, 3, 2, 4]


@pytest.mark.parametrize("name", ["limited", "silent"])
async def test_the_limits_of_a_server_cost_no_caption(running: Running, name: str) -> None:
    server: RateLimitedServer = getattr(running, name)
    for _ in range(3):  # the next calls wait for the window that the last ones used up
        async with client(running.service) as begin:
            answers = await asyncio.gather(*(begin(name) for _ in range(3)))
        assert [answer.status_code for answer in answers] == [200] * 3
    assert sum(server.served.values()) == 9


def test_a_limit_that_outlasts_the_request_is_a_429(running: Running) -> None:
    assert [ask(running.service, "seldom").status_code for _ in range(2)] == [200, 200]
    third = ask(running.service, "seldom", timeout=5)
    assert refusal(third) == (429, "provider_rate_limited")
    assert 5 < third.json()["retry_after"] <= 60
    tested = httpx.post(f"{running.service.url}/providers/seldom/test-connection", timeout=20, trust_env=False).json()
    assert tested["status"] == "failed"
    assert "rate limit" in tested["message"]
    assert len(running.a.calls) == 2
