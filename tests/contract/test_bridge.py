"""The whole bridge against every kind of server: what a caller is told, and how often a model is asked."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perspectives import compile_schema
from tests.contract.kinds import KINDS, OF_KIND, Kind
from tests.contract.schemas import PLAIN, RICH
from tests.servers import TrapServer, WireServer
from tests.servers import behaviours as b
from tests.servers.behaviours import Behaviour
from tests.servers.instances import instance
from tests.service import WORKSPACE, Service

PHOTO = WORKSPACE / "datasets/samples/coffee.jpg"
KEY = "sk-callers-own-key-123456"
MAX_CALLS = 4
SOON = 0.02
HANG_GUARD = 20.0
ALL = {"ids": lambda kind: kind.id}
GOOD = {"caption": "a cup on a table"}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(GRAPHCAP_LOG_LEVEL="debug", GRAPHCAP_LOG="json") as running:
        yield running


@dataclass
class Bridge:
    """The running service and one server that it is told to ask; every answer is looked through for the key."""

    service: Service
    kind: Kind
    server: WireServer

    def post(self, **fields: Any) -> httpx.Response:
        """Caption with the server's kind, address and key unless `fields` says otherwise."""
        body = {
            "perspective": perspective(PLAIN),
            "image": {"path": "datasets/samples/coffee.jpg"},
            "model": self.server.models[0],
            "provider_config": {"kind": self.kind.kind, "base_url": self.server.url, "api_key": KEY},
            **fields,
        }
        answer = httpx.post(
            self.service.url + "/api/v1/perspectives/caption", json=body, timeout=HANG_GUARD, trust_env=False
        )
        assert KEY not in f"{answer.text}{answer.headers}"
        return answer

    def caption(self, **fields: Any) -> dict[str, Any]:
        """The caption of a request that succeeds."""
        answer = self.post(**fields)
        assert answer.status_code == 200, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def failure(self, calls: int, **fields: Any) -> tuple[int, str]:
        """Status and code of a request that fails after exactly so many calls."""
        answer = self.post(**fields)
        told = answer.json()
        assert told["provider"] == self.kind.kind
        assert told["detail"].endswith(".")
        assert len(self.server.calls) == calls, told
        return answer.status_code, told["code"]

    @property
    def asked_differently(self) -> bool:
        """Whether no two calls had the same body."""
        return len({call.raw for call in self.server.calls}) == len(self.server.calls)


def perspective(schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": "mine", "prompt": "Describe the picture.", "json_schema": schema}


@pytest.fixture
def bridge(service: Service, kind: Kind, server: WireServer) -> Iterator[Bridge]:
    server.key = KEY
    yield Bridge(service, kind, server)
    assert len(server.calls) <= 2 * MAX_CALLS  # no test makes more than two captions that may fail
    assert KEY not in service.log


# Answers that fit.


def test_an_answer_that_fits(bridge: Bridge) -> None:
    made = bridge.caption(perspective=perspective(RICH))
    assert compile_schema(RICH).validate(made["result"]).value == made["result"]
    assert made["provider"] == bridge.kind.kind
    assert made["usage"] == usage(bridge.kind, 1)
    assert (made["output_mode"], outcomes(made)) == ("json_schema", ["ok"])
    assert bridge.server.call.image is not None
    assert bridge.server.call.image.data == PHOTO.read_bytes()


def usage(kind: Kind, calls: int) -> dict[str, int | None]:
    cached = 64 * calls if kind.caches else None
    return {"input_tokens": 120 * calls, "output_tokens": 30 * calls, "cached_tokens": cached}


def outcomes(made: dict[str, Any]) -> list[str]:
    return [one["outcome"] for one in made["attempts"]]


@pytest.mark.parametrize(
    ("behaviour", "result"),
    [
        (b.Fenced(GOOD), GOOD),
        (b.Prose(GOOD), GOOD),
        (b.Answer('{"caption": "a cup\non a table\x01"}'), {"caption": "a cup\non a table\x01"}),
        (b.Answer({**GOOD, "note": None}), GOOD),
        (b.Answer(r'{"caption": "half a \ud83d cup"}'), {"caption": "half a \ufffd cup"}),
    ],
    ids=["fenced", "prose", "control characters", "null for absent", "half a character"],
)
def test_spelling_is_forgiven_without_a_second_call(bridge: Bridge, behaviour: Behaviour, result: object) -> None:
    bridge.server.reply(behaviour)
    made = bridge.caption()
    assert made["result"] == result
    assert len(bridge.server.calls) == 1


# Answers that do not.


@pytest.mark.parametrize(
    ("wrong", "said"),
    [(b.InvalidJson(), "a cat on a"), (b.WrongSchema(), "unexpected")],
    ids=["invalid JSON", "wrong schema"],
)
def test_an_answer_that_does_not_fit_is_asked_for_again(bridge: Bridge, wrong: Behaviour, said: str) -> None:
    bridge.server.reply(wrong, b.Answer(GOOD))
    made = bridge.caption()
    assert made["result"] == GOOD
    assert (len(made["attempts"]), made["usage"]) == (2, usage(bridge.kind, 2))
    first, again = bridge.server.calls
    assert first.turns == []
    assert [role for role, _ in again.turns] == ["model" if bridge.kind.kind == "gemini" else "assistant", "user"]
    assert said in again.turns[0][1]
    assert again.turns[1][1]
    assert (again.prompt, again.system, again.schema) == (first.prompt, first.system, first.schema)
    assert again.image is not None
    assert again.image.data == PHOTO.read_bytes()


def test_what_to_mend_is_told_by_name(bridge: Bridge) -> None:
    bridge.server.reply(b.WrongSchema({"caption": 7}), b.Answer(GOOD))
    bridge.caption()
    assert "caption" in bridge.server.calls[1].turns[1][1]


@pytest.mark.parametrize(("retries", "calls"), [(None, 3), (0, 1), (1, 2), (3, 4)])
def test_an_answer_that_never_fits(bridge: Bridge, retries: int | None, calls: int) -> None:
    bridge.server.default = b.WrongSchema({"note": 5})
    answer = bridge.post(max_output_retries=retries)
    told = answer.json()
    assert (answer.status_code, told["code"], told["retryable"]) == (502, "answer_invalid", True)
    assert {one["pointer"] for one in told["errors"]} == {"/caption", "/note"}
    assert len(bridge.server.calls) == calls
    assert ("once" if calls == 1 else f"{calls} times") in told["detail"]


# Answers that are none: one call, since a repeat would cost the same and end the same.


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.declines], **ALL)
def test_a_refusal(bridge: Bridge) -> None:
    bridge.server.default = b.Refusal()
    assert bridge.failure(1) == (422, "refused")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.filters], **ALL)
def test_a_safety_block(bridge: Bridge) -> None:
    bridge.server.default = b.SafetyBlock("answer")
    assert bridge.failure(1) == (422, "blocked")


FINAL: dict[str, tuple[Behaviour, int, str]] = {
    "length": (b.Length(), 502, "answer_truncated"),
    "context": (b.TooLong(), 422, "context_too_long"),
    "401": (b.Status(401), 502, "provider_auth"),
    "402": (b.Status(402), 402, "provider_quota"),
    "403": (b.Status(403), 502, "provider_auth"),
    "404": (b.Status(404, body=b"404 page not found"), 502, "provider_error"),
    "413": (b.Status(413), 502, "provider_error"),
    "418": (b.Status(418), 502, "provider_error"),
    "no answer in it": (b.EmptyChoices(), 502, "provider_error"),
    "a page for people": (b.NotJson(), 502, "provider_error"),
    "cut": (b.Cut(), 502, "provider_error"),
}


@pytest.mark.parametrize("name", FINAL)
def test_what_a_repeat_would_not_cure_is_asked_once(bridge: Bridge, name: str) -> None:
    behaviour, status, code = FINAL[name]
    bridge.server.default = behaviour
    assert bridge.failure(1) == (status, code)


def test_a_wrong_key(bridge: Bridge) -> None:
    bridge.server.key = "the-right-one"
    assert bridge.failure(1) == (502, "provider_auth")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.knows_models], **ALL)
def test_an_unknown_model(bridge: Bridge) -> None:
    assert bridge.failure(1, model="no-such-model") == (404, "unknown_model")


def test_a_redirect_is_not_followed(bridge: Bridge, trap: TrapServer) -> None:
    bridge.server.default = b.Redirect(trap.url)
    assert bridge.failure(1) == (502, "provider_error")
    assert trap.untouched


# Lines that fail.


def test_a_short_wait_is_waited_for(bridge: Bridge) -> None:
    bridge.server.reply(b.Status(429, retry_after=SOON))
    made = bridge.caption()
    assert outcomes(made) == ["rate_limited", "ok"]


def test_a_wait_beyond_the_deadline_is_handed_on(bridge: Bridge) -> None:
    bridge.server.default = b.Status(429, retry_after=300)
    answer = bridge.post()
    told = answer.json()
    assert (answer.status_code, told["code"], told["retryable"]) == (429, "provider_rate_limited", True)
    assert (told["retry_after"], answer.headers["retry-after"]) == (300, "300")
    assert len(bridge.server.calls) == 1


@pytest.mark.parametrize(("status", "told"), [(500, (502, "provider_error")), (503, (503, "provider_unavailable"))])
def test_a_server_that_is_broken_is_asked_three_times(bridge: Bridge, status: int, told: tuple[int, str]) -> None:
    bridge.server.default = b.Status(status, retry_after=SOON)
    assert bridge.failure(3) == told


@pytest.mark.slow
def test_a_slow_server(bridge: Bridge) -> None:
    bridge.caption()  # the first caption of a kind imports its SDK, which would use up the time
    bridge.server.default = b.Hang()
    assert bridge.failure(2, timeout=0.4) == (504, "timeout")


def closed_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{one.getsockname()[1]}"


@pytest.mark.parametrize("address", [closed_port, lambda: "http://nonexistent.invalid"], ids=["refused", "no name"])
def test_a_server_that_is_not_there(service: Service, address: Callable[[], str]) -> None:
    url = address()

    def told(kind: Kind) -> tuple[int, str, bool]:
        config = {"kind": kind.kind, "base_url": url, "api_key": KEY}
        answer = Bridge(service, kind, kind.server()).post(provider_config=config)
        return answer.status_code, answer.json()["code"], answer.json()["retryable"]

    with ThreadPoolExecutor(len(KINDS)) as threads:
        assert set(threads.map(told, KINDS)) == {(502, "provider_unreachable", True)}


# Schemas that a server does not take.


@pytest.mark.parametrize("schema", [PLAIN, RICH], ids=["plain", "rich"])
def test_a_rejected_schema_is_sent_one_rung_lower_and_the_rung_is_remembered(
    bridge: Bridge, schema: dict[str, Any]
) -> None:
    bridge.server.reply(b.RejectSchema())
    bridge.server.default = b.Answer(instance(schema))
    made = bridge.caption(perspective=perspective(schema))
    assert outcomes(made) == ["schema_rejected", "ok"]
    assert made["output_mode"] != "json_schema"
    assert bridge.asked_differently
    next_one = bridge.caption(perspective=perspective(schema))
    assert (next_one["output_mode"], outcomes(next_one)) == (made["output_mode"], ["ok"])
    _, second, third = bridge.server.calls
    assert (second.mode, second.schema) == (third.mode, third.schema)


def test_a_server_without_any_json_mode(bridge: Bridge) -> None:
    bridge.server.modes = frozenset({"text"})
    made = bridge.caption()
    assert made["output_mode"] == "prompt"
    assert set(outcomes(made)[:-1]) == {"schema_rejected"}
    assert len(bridge.server.calls) <= MAX_CALLS
    assert bridge.asked_differently


def test_a_server_that_rejects_every_schema(bridge: Bridge) -> None:
    bridge.server.default = b.RejectSchema()
    answer = bridge.post()
    assert (answer.status_code, answer.json()["code"]) == (502, "provider_error")
    assert len(bridge.server.calls) <= MAX_CALLS
    assert bridge.asked_differently


# Everything at once.


@pytest.mark.parametrize(
    "script",
    [
        [b.RejectSchema(), b.InvalidJson(), b.Status(500, retry_after=SOON), b.WrongSchema()],
        [b.InvalidJson(), b.Status(500, retry_after=SOON), b.Status(500, retry_after=SOON), b.InvalidJson()],
        [b.Status(503, retry_after=SOON), b.Status(429, retry_after=SOON), b.WrongSchema(), b.InvalidJson()],
        [b.InvalidJson(), b.Status(429, retry_after=SOON), b.Reset(), b.WrongSchema()],
    ],
    ids=lambda script: " ".join(type(one).__name__ for one in script),
)
def test_faults_of_every_sort_share_four_calls(bridge: Bridge, script: list[Behaviour]) -> None:
    bridge.server.reply(*script)
    bridge.server.default = b.InvalidJson()
    answer = bridge.post(max_output_retries=3)
    assert (answer.status_code, answer.json()["code"]) == (502, "answer_invalid")
    assert len(bridge.server.calls) == MAX_CALLS


FAULTS: list[Behaviour] = [
    b.RejectSchema(),
    b.InvalidJson(),
    b.WrongSchema(),
    b.Status(500, retry_after=SOON),
    b.Status(429, retry_after=SOON),
    b.Reset(),
    b.Status(401),
    b.Answer(GOOD),
]


@given(script=st.lists(st.sampled_from(FAULTS), min_size=6, max_size=6), retries=st.integers(0, 3))
@settings(max_examples=30, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_order_of_faults_costs_a_fifth_call(service: Service, script: list[Behaviour], retries: int) -> None:
    with OF_KIND["vllm"].server(key=KEY) as server:
        server.reply(*script)
        answer = Bridge(service, OF_KIND["vllm"], server).post(max_output_retries=retries)
        assert len(server.calls) <= MAX_CALLS
        assert answer.json().get("code") != "internal_error"
        fits = [number for number, one in enumerate(script) if one == b.Answer(GOOD)]
        assert (answer.status_code == 200) == (len(server.calls) - 1 in fits)


@pytest.mark.parametrize("kind", [OF_KIND["openai"]], **ALL)
def test_a_stand_in_keeps_its_call(bridge: Bridge) -> None:
    bridge.server.default = b.WrongSchema()
    with OF_KIND["vllm"].server(key=KEY) as second:
        config = {"kind": "vllm", "base_url": second.url, "api_key": KEY}
        stand_in = {"provider_config": config, "model": second.models[0]}
        made = bridge.caption(fallbacks=[stand_in], max_output_retries=3)
        assert made["provider"] == "vllm"
        assert len(bridge.server.calls) + len(second.calls) == MAX_CALLS
