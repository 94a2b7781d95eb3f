"""The service with several model servers: fallbacks, queueing and rate limits as callers see them."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx
import pytest

from tests.dispatch.gateway import STOPPED, ask, attempts_of, client, error_of, gateway, health, provider, servers
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.servers.rate_limited import RateLimitedServer
from tests.service import Service, until


@dataclass
class Running:
    """The service and its model servers."""

    service: Service
    a: OpenAIServer
    b: OpenAIServer
    announced: RateLimitedServer
    unannounced: RateLimitedServer


def toml(
    first_server: OpenAIServer,
    second_server: OpenAIServer,
    announced: RateLimitedServer,
    unannounced: RateLimitedServer,
) -> str:
    first = f'{{ base_url = "{first_server.url}", name = "a" }}'
    second = f'{{ base_url = "{second_server.url}", name = "b" }}'
    strategy = '"round_robin"'
    return "".join(
        (
            provider("half_down", f'{{ base_url = "{STOPPED}", name = "dead" }}', second, strategy=strategy),
            provider("pair", first, second, strategy=strategy),
            provider("sensitive", first, breaker="{ failures = 2, open_seconds = 60 }"),
            provider("one_slot", second, max_concurrency="1"),
            provider("extended", first, options="{ extra_body = { mm_processor_kwargs = { num_crops = 4 } } }"),
            provider("two_per_minute", first, requests_per_minute="2"),
            provider("announced", announced.url, kind='"openai"', api_key='"sk-limited"'),
            provider("unannounced", unannounced.url, kind='"openai"', api_key='"sk-limited"'),
            provider("with_fallback", first, fallbacks='[{ provider = "one_slot" }]', strategy=strategy),
            provider("refusal_fallback", first, fallbacks='[{ provider = "half_down", on = "refusal" }]'),
        )
    )


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    # The windows are longer than a call, and short enough for a test.
    announced, unannounced = RateLimitedServer(2, 0.4), RateLimitedServer(4, 0.6, announces=False)
    with servers(2) as (first, second), announced, unannounced:
        text = toml(first, second, announced, unannounced)
        environment = {"GRAPHCAP_MAX_QUEUE": "4", "GRAPHCAP_TIMEOUT": "60"}
        with gateway(tmp_path_factory.mktemp("workspace"), text, **environment) as service:
            assert ask(service, "pair").status_code == 200  # imports the SDK and starts the image worker
            yield Running(service, first, second, announced, unannounced)


@pytest.fixture
def running(started: Running) -> Running:
    for server in (started.a, started.b):
        server.script.clear()
        server.calls.clear()
        server.default = b.Answer()
    return started


def test_a_request_is_retried_at_another_endpoint_if_one_is_down(running: Running) -> None:
    assert attempts_of(ask(running.service, "half_down")) == [("dead", "unreachable"), ("b", "ok")]


@pytest.mark.slow
def test_a_fallback_is_used_if_a_provider_hangs(running: Running) -> None:
    running.a.default = b.Hang("connect")
    assert attempts_of(ask(running.service, "with_fallback", timeout=10)) == [("a", "call_timeout"), ("b", "ok")]


def test_fallbacks_of_the_request_replace_the_configured_ones(running: Running) -> None:
    running.a.default = b.Status(401)
    assert ask(running.service, "with_fallback").json()["provider"] == "one_slot"
    assert error_of(ask(running.service, "with_fallback", fallbacks=[])) == (502, "provider_auth")
    assert (
        ask(running.service, "with_fallback", fallbacks=[{"provider": "half_down"}]).json()["provider"] == "half_down"
    )


def test_a_fallback_for_refusals_only(running: Running) -> None:
    running.a.default = b.Status(401)
    assert error_of(ask(running.service, "refusal_fallback")) == (502, "provider_auth")
    running.a.default = b.Refusal()
    assert ask(running.service, "refusal_fallback").json()["provider"] == "half_down"


def test_an_open_circuit_breaker_is_a_503_with_retry_after(running: Running) -> None:
    running.a.default = b.Status(503)
    assert error_of(ask(running.service, "sensitive")) == (503, "provider_unavailable")
    calls = len(running.a.calls)
    answer = ask(running.service, "sensitive")
    assert error_of(answer) == (503, "provider_unavailable")
    assert 0 < answer.json()["retry_after"] <= 60
    assert 0 < float(answer.headers["retry-after"]) <= 60
    assert len(running.a.calls) == calls == 2
    assert ask(running.service, "sensitive", fallbacks=[{"provider": "half_down"}]).json()["provider"] == "half_down"


async def test_the_queue_is_bounded_and_serves_callers_round_robin(running: Running) -> None:
    """Three calls from one address and two from another: the last call of the first waits for both of the second."""
    running.b.default = b.Hold()
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(client(running.service, f"127.0.0.{n}")) for n in (1, 2)]
        held = [first("one_slot", seed=0)]
        await asyncio.to_thread(running.b.wait_for_calls, 1)
        for queued, begin in enumerate((first, first, second, second), 1):
            held.append(begin("one_slot", seed=queued))
            await asyncio.to_thread(until, lambda n=queued: health(running.service, "one_slot")["queued"] == n)
        rejected = await first("one_slot", seed=9)
        assert error_of(rejected) == (503, "overloaded")
        assert rejected.headers["retry-after"] == "1"
        running.b.release()
        assert [(await task).status_code for task in held] == [200] * 5
    assert [call.options["seed"] for call in running.b.calls] == [0, 1, 3, 2, 4]


@pytest.mark.parametrize("name", ["announced", "unannounced"])
async def test_no_caption_fails_because_of_the_servers_rate_limit(running: Running, name: str) -> None:
    server: RateLimitedServer = getattr(running, name)
    for _ in range(3):  # later calls wait for the next window
        async with client(running.service) as begin:
            answers = await asyncio.gather(*(begin(name) for _ in range(3)))
        assert [answer.status_code for answer in answers] == [200] * 3
    assert sum(server.served.values()) == 9


def test_a_rate_limit_beyond_the_deadline_is_a_429(running: Running) -> None:
    assert [ask(running.service, "two_per_minute").status_code for _ in range(2)] == [200, 200]
    third = ask(running.service, "two_per_minute", timeout=5)
    assert error_of(third) == (429, "provider_rate_limited")
    assert 5 < third.json()["retry_after"] <= 60
    check = httpx.post(
        f"{running.service.url}/providers/two_per_minute/test-connection", timeout=20, trust_env=False
    ).json()
    assert check["status"] == "failed"
    assert "rate limit" in check["message"]
    assert len(running.a.calls) == 2


def test_an_option_that_is_a_table_is_sent(running: Running) -> None:
    assert ask(running.service, "extended").status_code == 200
    assert running.a.calls[-1].options["mm_processor_kwargs"] == {"num_crops": 4}
