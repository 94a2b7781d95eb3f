"""One provider, several endpoints, over real sockets: who is asked, what it costs, and what nobody gets."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.dispatch.gateway import (
    ask,
    client,
    fields,
    gateway,
    health,
    provider,
    refusal,
    servers,
    stopped,
    tried,
    until,
)
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.servers.limited import LimitedServer
from tests.service import Service


@dataclass
class Running:
    """The service, and its servers: each test takes the providers that are its own."""

    service: Service
    a: OpenAIServer
    b: OpenAIServer
    keyed: list[OpenAIServer]
    limited: LimitedServer
    silent: LimitedServer
    keyless: LimitedServer

    def forget(self) -> None:
        for one in (self.a, self.b, *self.keyed):
            one.script.clear()
            one.calls.clear()
            one.default = b.Answer()


def toml(a: OpenAIServer, other: OpenAIServer, keyed: list[OpenAIServer], limited: list[LimitedServer]) -> str:
    dead = stopped()
    first, second = f'{{ base_url = "{a.url}", name = "a" }}', f'{{ base_url = "{other.url}", name = "b" }}'
    accounts = (f'{{ base_url = "{a.url}", name = "{one}", api_key = "sk-{one}" }}' for one in "vwxyz")
    keys = (f'{{ base_url = "{one.url}", name = "{one.key}", api_key = "{one.key}" }}' for one in keyed)
    turns = '"round_robin"'
    frail = "{ failures = 2, open_seconds = 60 }"
    return "".join(
        (
            provider("half", f'{{ base_url = "{dead}", name = "dead" }}', second, strategy=turns),
            provider("pair", first, second, strategy=turns),
            provider("slow", f'{{ base_url = "{a.url}", name = "a", timeout = 0.3 }}', second, strategy=turns),
            provider("lost", *accounts, strategy=turns),
            provider("keyed", *keys, strategy=turns),
            provider("frail", first, breaker=frail),
            provider("brief", first, breaker="{ failures = 1, open_seconds = 0.2 }"),
            provider("narrow", second, max_concurrency="1"),
            provider("seldom", first, requests_per_minute="2"),
            provider("mixed", first, second, strategy=turns),
            provider("tested", first, requests_per_minute="1"),
            provider("limited", limited[0].url, kind='"openai"', api_key='"sk-limited"'),
            provider("keyless", limited[2].url),
            provider("silent", limited[1].url, kind='"openai"', api_key='"sk-limited"'),
            provider("backed", first, fallbacks='[{ provider = "narrow" }]', strategy=turns),
            provider("prudish", first, fallbacks='[{ provider = "keyed", on = "refusal" }]'),
            '[routing]\n"qwen*" = "half"\n"*-vision" = "pair"\n',
        )
    )


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    # Windows that are long for a call and short for a test.
    limited, silent = LimitedServer(2, 0.4), LimitedServer(4, 0.6, announces=False)
    keyless = LimitedServer(2, 0.4, key="")
    with (
        servers(2) as (a, other),
        OpenAIServer("vllm", key="sk-1") as one,
        OpenAIServer("vllm", key="sk-2") as two,
        limited,
        silent,
        keyless,
    ):
        text = toml(a, other, [one, two], [limited, silent, keyless])
        with gateway(tmp_path_factory.mktemp("workspace"), text, GRAPHCAP_MAX_QUEUE="4") as service:
            yield Running(service, a, other, [one, two], limited, silent, keyless)


@pytest.fixture
def running(started: Running) -> Running:
    started.forget()
    return started


# Failover.


def test_what_one_endpoint_cannot_another_does(running: Running) -> None:
    found = [tried(ask(running.service, "half")) for _ in range(2)]
    assert found == [[("dead", "unreachable"), ("b", "ok")]] * 2


@pytest.mark.parametrize("behaviour", [b.Status(500), b.Status(503), b.Status(429, retry_after=0.01), b.Reset()])
def test_failover_costs_one_call_and_no_wait(running: Running, behaviour: b.Behaviour) -> None:
    for server in (running.a, running.b):
        server.reply(behaviour)
    found = tried(ask(running.service, "pair"))
    assert len({endpoint for endpoint, _ in found[:2]}) == 2
    assert found[-1][1] == "ok"
    assert len(found) == 3  # both failed once; the third is the first that was tried


def test_an_endpoint_that_is_slow_is_left_for_another(running: Running) -> None:
    running.a.default = b.Hang("connect")
    found = {tuple(tried(ask(running.service, "slow"))) for _ in range(2)}
    assert found == {(("a", "call_timeout"), ("b", "ok"))} | ({(("b", "ok"),)} & found)
    assert len(running.a.calls) >= 1


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (b.Status(400), (502, "provider_error")),
        (b.Status(401), (502, "provider_auth")),
        (b.Status(402), (402, "provider_quota")),
        (b.Status(403), (502, "provider_auth")),
        (b.Status(404), (502, "provider_error")),
        (b.Refusal(), (422, "refused")),
    ],
)
def test_what_every_endpoint_would_say_is_asked_once(
    running: Running, behaviour: b.Behaviour, code: tuple[int, str]
) -> None:
    running.a.default = running.b.default = behaviour
    answer = ask(running.service, "pair", max_output_retries=0)
    assert refusal(answer) == code
    bodies = [call.raw for one in (running.a, running.b) for call in one.calls]
    assert len(bodies) == len(set(bodies))  # a schema may be sent more simply, but nothing is sent again


def test_four_calls_are_all_there_are(running: Running) -> None:
    running.a.default = b.Status(500)
    answer = ask(running.service, "lost")
    assert refusal(answer) == (502, "provider_error")
    assert len({call.headers["authorization"] for call in running.a.calls}) == len(running.a.calls) == 4
    told = [(one["endpoint"], one["outcome"]) for one in answer.json()["attempts"]]
    assert told == [
        (call.headers["authorization"].removeprefix("Bearer sk-"), "server_failed") for call in running.a.calls
    ]


def test_a_stream_that_goes_elsewhere_says_that_what_was_told_is_void(running: Running) -> None:
    running.a.reply(b.Status(500))
    running.b.reply(b.Status(500))
    told = []
    url = f"{running.service.url}/perspectives/caption"
    headers = {"Accept": "text/event-stream"}
    with httpx.stream("POST", url, json=fields("pair"), headers=headers, timeout=20, trust_env=False) as reply:
        told = [json.loads(line[6:]) for line in reply.iter_lines() if line.startswith("data: ")]
    kinds = [one["type"] for one in told]
    assert kinds.count("reset") == 2
    assert kinds[-2:] == ["result", "done"]


def test_rules_by_the_models_name(running: Running) -> None:
    running.b.models = ("tiny-vision", "QWEN-vl")
    try:
        answers = [ask(running.service, None, model=name) for name in ("QWEN-vl", "tiny-vision")]  # type: ignore[arg-type]
    finally:
        running.b.models = ("tiny-vision",)
    assert [one.json()["provider"] for one in answers] == ["half", "pair"]


def test_what_one_endpoint_rejects_is_kept_from_it_alone(running: Running) -> None:
    everything, running.b.modes = running.b.modes, frozenset({"json_object", "text"})
    try:
        found = [ask(running.service, "mixed").json()["attempts"] for _ in range(12)]
    finally:
        running.b.modes = everything
    rejected = [one for one in found if one[0]["outcome"] == "schema_rejected"]
    assert rejected
    assert all(one[0]["endpoint"] == "b" for one in rejected)
    later = [one for calls in found[8:] for one in calls]
    assert {(one["endpoint"], one["output_mode"], one["outcome"]) for one in later} == {
        ("a", "json_schema", "ok"),
        ("b", "json_object", "ok"),
    }


# Keys.


def test_each_endpoint_gets_its_own_key_and_no_other(running: Running) -> None:
    found = [tried(ask(running.service, "keyed")) for _ in range(4)]
    assert {one[0] for one in found} == {("sk-1", "ok"), ("sk-2", "ok")}
    for server in running.keyed:
        assert {call.headers["authorization"] for call in server.calls} == {f"Bearer {server.key}"}


def test_a_request_that_names_an_endpoints_address_gets_that_endpoints_key(running: Running) -> None:
    second = running.keyed[1]
    config = {"kind": "vllm", "base_url": second.url, "default_model": "tiny-vision"}
    for _ in range(2):
        assert tried(ask(running.service, "mine", provider_config=config)) == [("sk-2", "ok")]
    assert (len(running.keyed[0].calls), len(second.calls)) == (0, 2)


def test_a_callers_own_key_takes_the_place_of_all(running: Running) -> None:
    answers = [ask(running.service, "pair", headers={"X-Provider-Key": "sk-theirs"}) for _ in range(2)]
    assert {one.status_code for one in answers} == {200}
    calls = [*running.a.calls, *running.b.calls]
    assert {call.headers["authorization"] for call in calls} == {"Bearer sk-theirs"}


# Fallbacks of the configuration.


def test_a_configured_fallback_stands_in(running: Running) -> None:
    running.a.default = b.Status(401)
    running.b.default = b.Answer()
    answer = ask(running.service, "backed")
    calls = [(one["provider"], one["outcome"]) for one in answer.json()["attempts"]]
    assert calls[0] == ("backed", "auth_failed")
    assert {provider for provider, _ in calls[1:]} == {"narrow"}


def test_a_requests_own_fallbacks_even_none_take_their_place(running: Running) -> None:
    running.a.default = b.Status(401)
    assert refusal(ask(running.service, "backed", fallbacks=[])) == (502, "provider_auth")
    own = ask(running.service, "backed", fallbacks=[{"provider": "keyed"}])
    assert own.json()["provider"] == "keyed"


def test_a_fallback_for_refusals_alone(running: Running) -> None:
    running.a.default = b.Status(401)
    assert refusal(ask(running.service, "prudish")) == (502, "provider_auth")
    running.a.default = b.Refusal()
    assert ask(running.service, "prudish").json()["provider"] == "keyed"


# The breaker.


def test_an_endpoint_that_fails_in_a_row_is_left_alone(running: Running) -> None:
    running.a.default = b.Status(500)
    first = ask(running.service, "frail")
    assert refusal(first) == (502, "provider_error")
    assert len(running.a.calls) == 2
    second = ask(running.service, "frail")
    assert refusal(second) == (503, "provider_unavailable")
    assert 50 < second.json()["retry_after"] <= 60
    assert 50 < float(second.headers["retry-after"]) <= 60
    assert len(running.a.calls) == 2
    stand_in = ask(running.service, "frail", fallbacks=[{"provider": "keyed"}])
    assert stand_in.json()["provider"] == "keyed"


async def test_one_call_tries_whether_it_is_back(running: Running) -> None:
    running.a.default = b.Status(500)
    assert ask(running.service, "brief").status_code == 502
    await asyncio.to_thread(until, lambda: breaker(running.service, "brief") == "half_open")
    running.a.default = b.Hold()
    came = len(running.a.calls)
    async with client(running.service) as begin:
        trial = begin("brief")
        await asyncio.to_thread(running.a.wait_for_calls, came + 1)
        others = await asyncio.gather(*(begin("brief") for _ in range(4)))
        assert {refusal(one) for one in others} == {(503, "provider_unavailable")}
        running.a.release()
        assert (await trial).status_code == 200
    assert len(running.a.calls) == came + 1
    assert breaker(running.service, "brief") == "closed"


def breaker(service: Service, name: str) -> str:
    """The state of the breaker of a provider's one endpoint."""
    (only,) = health(service, name)["endpoints"].values()
    return str(only["breaker"])


def test_misfits_and_refusals_open_nothing(running: Running) -> None:
    for behaviour in (b.Refusal(), b.WrongSchema(), b.Status(400), b.Status(401)):
        running.a.default = behaviour
        assert ask(running.service, "brief", max_output_retries=0).status_code != 503
    running.a.default = b.Answer()
    assert ask(running.service, "brief").status_code == 200


# The queue.


async def test_first_come_first_served_and_a_full_queue_is_told_at_once(running: Running) -> None:
    running.b.default = b.Hold()
    async with client(running.service) as begin:
        held = [begin("narrow", seed=1)]
        await asyncio.to_thread(running.b.wait_for_calls, 1)
        for seed in (2, 3, 4, 5):
            held.append(begin("narrow", seed=seed))
            await asyncio.to_thread(until, lambda count=seed - 1: health(running.service, "narrow")["queued"] == count)
        refused = await begin("narrow", seed=6)
        assert refusal(refused) == (503, "overloaded")
        assert refused.headers["retry-after"] == "1"
        running.b.release()
        assert [(await one).status_code for one in held] == [200] * 5
    assert [call.options["seed"] for call in running.b.calls] == [1, 2, 3, 4, 5]


# Limits.


@pytest.mark.parametrize("name", ["limited", "keyless"])
async def test_a_limit_that_is_announced_is_kept(running: Running, name: str) -> None:
    server: LimitedServer = getattr(running, name)
    async with client(running.service) as begin:
        answers = []
        for _ in range(2):  # one goes, three wait; then all four
            answers += await asyncio.gather(*(begin(name) for _ in range(4)))
    assert [one.status_code for one in answers] == [200] * 8
    assert sum(server.served.values()) == 8
    assert max(server.refused.values(), default=0) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("announces", [True, False])
async def test_a_low_limit_of_a_slow_server_is_run_into_once_in_a_window(tmp_path: Path, announces: bool) -> None:
    """The first answer comes when the limit is long used up."""
    server = LimitedServer(2, 5.0, announces=announces)
    server.default = b.Drip(interval=0.5, size=100)
    with server, gateway(tmp_path, provider("slow", server.url, api_key='"sk-limited"')) as service:
        async with client(service, guard=60) as begin:  # several windows
            answers = await asyncio.gather(*(begin("slow") for _ in range(4)))
    assert [one.status_code for one in answers] == [200] * 4
    assert sum(server.served.values()) == 4
    assert max(server.refused.values(), default=0) <= 1


def test_a_limit_that_only_a_429_tells_is_obeyed(running: Running) -> None:
    server = running.silent
    answers = [ask(running.service, "silent") for _ in range(9)]
    assert {one.status_code for one in answers} == {200}
    assert max(server.refused.values(), default=0) <= 1


def test_a_limit_that_lasts_longer_than_the_request_is_told_at_once(running: Running) -> None:
    assert [ask(running.service, "seldom").status_code for _ in range(2)] == [200, 200]
    third = ask(running.service, "seldom", timeout=5)
    assert refusal(third) == (429, "provider_rate_limited")
    assert 30 < third.json()["retry_after"] <= 61
    assert len(running.a.calls) == 2


def test_a_connection_is_tested_within_the_limits(running: Running) -> None:
    assert ask(running.service, "tested").status_code == 200
    url = f"{running.service.url}/providers/tested/test-connection"
    told = httpx.post(url, timeout=20, trust_env=False).json()
    assert told["status"] == "failed"
    assert "limits its rate" in told["message"]
    assert len(running.a.calls) == 1
