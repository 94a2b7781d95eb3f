"""The bridge with every client class: the response to the caller, and the number of calls to the model."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx
import jsonschema_rs
import pytest

from tests.api import streams
from tests.api.streams import GOOD, KEY, PHOTO, inline
from tests.contract.kinds import KIND_BY_NAME, KINDS, PROTOCOLS, Kind, only
from tests.contract.schemas import PLAIN, RICH
from tests.servers import WireServer, recorded_errors
from tests.servers import behaviours as b
from tests.servers.behaviours import Behaviour
from tests.servers.instances import instance
from tests.service import Service

MAX_CALLS = 4
SOON = 0.02


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(GRAPHCAP_LOG_LEVEL="debug", GRAPHCAP_LOG="json") as running:
        yield running


@dataclass
class Bridge:
    """A running service with a model server that requests refer to. No response may contain the key."""

    service: Service
    kind: Kind
    server: WireServer

    def post(self, **fields: Any) -> httpx.Response:
        """Request a caption from the model server; `fields` replace those of the request."""
        body = streams.caption(self.server, self.kind, **fields)
        response = streams.post(self.service, "/caption", body)
        assert KEY not in f"{response.text}{response.headers}"
        return response

    def caption(self, **fields: Any) -> dict[str, Any]:
        """Return the caption of a request that must succeed."""
        response = self.post(**fields)
        assert response.status_code == 200, response.text
        return response.json()

    def failure(self, calls: int, **fields: Any) -> tuple[int, str]:
        """Return status and code of a request that must fail after this number of calls."""
        response = self.post(**fields)
        problem = response.json()
        assert problem["provider"] == self.kind.kind
        assert len(self.server.calls) == calls, problem
        assert len(problem["attempts"]) == calls
        return response.status_code, problem["code"]

    @property
    def all_calls_differ(self) -> bool:
        return len({call.raw for call in self.server.calls}) == len(self.server.calls)


def outcomes(body: dict[str, Any]) -> list[str]:
    return [attempt["outcome"] for attempt in body["attempts"]]


def usage(kind: Kind, calls: int) -> dict[str, int | None]:
    cached = 64 * calls if kind.caches else None
    return {"input_tokens": 120 * calls, "output_tokens": 30 * calls, "cached_tokens": cached}


@pytest.fixture
def bridge(service: Service, kind: Kind, server: WireServer) -> Iterator[Bridge]:
    server.key = KEY
    yield Bridge(service, kind, server)
    assert len(server.calls) <= 2 * MAX_CALLS  # no test makes more than two captions that may fail
    assert KEY not in service.log


def test_a_valid_answer(bridge: Bridge) -> None:
    caption = bridge.caption(perspective=inline(json_schema=RICH))
    assert jsonschema_rs.is_valid(RICH, caption["result"])
    assert caption["provider"] == bridge.kind.kind
    assert caption["usage"] == usage(bridge.kind, 1)
    assert (caption["output_mode"], outcomes(caption)) == ("json_schema", ["ok"])
    assert bridge.server.call.image is not None
    assert bridge.server.call.image.data == PHOTO.read_bytes()


@pytest.mark.parametrize(
    ("behaviour", "result"),
    [
        (b.Answer(f"\ufeffHere:\n```json\n{json.dumps(GOOD)}\n```\nI hope it helps!"), GOOD),
        (b.Answer(f"The set {{x}} is not it. Here it is: {json.dumps(GOOD)} Anything else?"), GOOD),
        (b.Answer('{"caption": "a cup\non a table\x01"}'), {"caption": "a cup\non a table\x01"}),
        (b.Answer({**GOOD, "note": None}), GOOD),
        (b.Answer(r'{"caption": "half a \ud83d cup"}'), {"caption": "half a \ufffd cup"}),
    ],
    ids=["fenced", "prose", "control characters", "null for absent", "unpaired surrogate"],
)
def test_small_deviations_need_no_second_call(bridge: Bridge, behaviour: Behaviour, result: object) -> None:
    bridge.server.reply(behaviour)
    assert bridge.caption()["result"] == result
    assert len(bridge.server.calls) == 1


@pytest.mark.parametrize(
    ("invalid", "quoted", "problem"),
    [(b.InvalidJson(), "a cat on a", ""), (b.WrongSchema({"caption": 7}), "7", "caption")],
    ids=["invalid JSON", "wrong schema"],
)
def test_an_invalid_answer_is_re_asked_with_its_problems(
    bridge: Bridge, invalid: Behaviour, quoted: str, problem: str
) -> None:
    bridge.server.reply(invalid, b.Answer(GOOD))
    caption = bridge.caption()
    assert caption["result"] == GOOD
    assert (len(caption["attempts"]), caption["usage"]) == (2, usage(bridge.kind, 2))
    first, second = bridge.server.calls
    assert first.turns == []
    assert [role for role, _ in second.turns] == ["model" if bridge.kind.kind == "gemini" else "assistant", "user"]
    assert quoted in second.turns[0][1]
    assert second.turns[1][1]
    assert problem in second.turns[1][1]
    assert (second.prompt, second.system, second.schema) == (first.prompt, first.system, first.schema)
    assert second.image is not None
    assert second.image.data == PHOTO.read_bytes()


@only("vllm")
@pytest.mark.parametrize(("retries", "calls"), [(None, 3), (0, 1), (1, 2), (3, 4)])
def test_answers_that_remain_invalid_fail(bridge: Bridge, retries: int | None, calls: int) -> None:
    bridge.server.default = b.WrongSchema({"note": 5})
    response = bridge.post(max_output_retries=retries)
    problem = response.json()
    assert (response.status_code, problem["code"], problem["retryable"]) == (502, "answer_invalid", True)
    assert {error["pointer"] for error in problem["errors"]} == {"/caption", "/note"}
    assert len(bridge.server.calls) == calls
    assert ("once" if calls == 1 else f"{calls} times") in problem["detail"]


FAILURES: dict[str, tuple[Behaviour, int, str, int]] = {
    "length": (b.Length(), 502, "answer_truncated", 1),
    "context": (b.TooLong(), 422, "context_too_long", 1),
    "401": (b.Status(401), 502, "provider_auth", 1),
    "unexplained 400": (b.Status(400), 502, "provider_error", 2),
    "unexplained 500": (b.Status(500, retry_after=SOON), 502, "provider_error", 2),
    "503": (b.Status(503, retry_after=SOON), 503, "provider_unavailable", 3),
    "interrupted body": (b.Cut(), 502, "provider_error", 2),
}


@pytest.mark.parametrize("name", FAILURES)
def test_status_code_and_number_of_calls_of_a_failure(bridge: Bridge, name: str) -> None:
    behaviour, status, code, calls = FAILURES[name]
    bridge.server.default = behaviour
    assert bridge.failure(calls) == (status, code)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://nonexistent.invalid"])
def test_an_unreachable_server(service: Service, url: str) -> None:
    def caption(kind: Kind) -> tuple[int, str, bool]:
        config = {"kind": kind.kind, "base_url": url, "api_key": KEY}
        response = Bridge(service, kind, kind.server()).post(provider_config=config)
        return response.status_code, response.json()["code"], response.json()["retryable"]

    with ThreadPoolExecutor(len(KINDS)) as threads:
        assert set(threads.map(caption, KINDS)) == {(502, "provider_unreachable", True)}


@pytest.mark.parametrize("schema", [PLAIN, RICH], ids=["plain", "rich"])
def test_a_rejected_schema_selects_the_next_mode_which_is_remembered(bridge: Bridge, schema: dict[str, Any]) -> None:
    bridge.server.reply(b.RejectSchema())
    bridge.server.default = b.Answer(instance(schema))
    first = bridge.caption(perspective=inline(json_schema=schema))
    assert outcomes(first) == ["schema_rejected", "ok"]
    assert first["output_mode"] != "json_schema"
    assert bridge.all_calls_differ
    second = bridge.caption(perspective=inline(json_schema=schema))
    assert (second["output_mode"], outcomes(second)) == (first["output_mode"], ["ok"])
    _, accepted, remembered = bridge.server.calls
    assert (accepted.mode, accepted.schema) == (remembered.mode, remembered.schema)


@only("openai", "vllm", "ollama", "anthropic")
def test_a_server_without_a_json_mode_gets_the_schema_in_the_prompt(bridge: Bridge) -> None:
    """Gemini is excluded: its 400 names no cause, and an unexplained 400 tries only one more mode."""
    bridge.server.modes = frozenset({"text"})
    caption = bridge.caption()
    assert caption["output_mode"] == "prompt"
    assert set(outcomes(caption)[:-1]) == {"schema_rejected"}
    assert bridge.all_calls_differ


@only("anthropic")
def test_a_shared_image_is_marked_for_the_cache(bridge: Bridge) -> None:
    bridge.server.modes = frozenset({"text"})
    bridge.server.default = b.Answer(GOOD)
    body = {**streams.target(bridge.server, bridge.kind), "perspectives": [inline("one"), inline("two")]}
    assert streams.post(bridge.service, "/analyze", body).status_code == 200
    images = [call.body["messages"][0]["content"][0] for call in bridge.server.calls if call.mode == "text"]
    assert [image.get("cache_control") for image in images] == [{"type": "ephemeral"}] * 2


# Errors recorded from real servers.


@only("vllm")
@pytest.mark.parametrize(
    ("recorded_error", "status", "code", "calls"),
    [
        (recorded_errors.LLAMA_NO_VISION, 422, "model_without_vision", 1),
        (recorded_errors.OPENROUTER_NO_VISION, 422, "model_without_vision", 1),
        (recorded_errors.LLAMA_UNPARSABLE, 502, "answer_invalid", 3),
        (recorded_errors.LLAMA_PYTHON_CONTEXT, 422, "context_too_long", 1),
        (recorded_errors.LITELLM_NO_KEY, 502, "provider_auth", 1),
        (recorded_errors.LITELLM_WRONG_KEY, 502, "provider_auth", 1),
        (recorded_errors.TRANSFORMERS_PINNED, 404, "unknown_model", 1),
        (recorded_errors.VLLM_PROCESSOR, 422, "invalid_image", 1),
        (recorded_errors.VLLM_MAX_TOKENS, 422, "invalid_request", 1),
    ],
)
def test_a_cause_named_by_the_server_is_reported(
    bridge: Bridge, recorded_error: b.Status, status: int, code: str, calls: int
) -> None:
    """The report does not depend on the status, and no other output modes are tried."""
    bridge.server.default = recorded_error
    assert bridge.failure(calls) == (status, code)


@only("openai-compatible", "llamacpp")
def test_json_object_carries_the_schema(bridge: Bridge) -> None:
    """llama-cpp-python rejects json_schema, and reads the schema that accompanies json_object."""
    bridge.server.modes = frozenset({"json_object", "text"})
    assert bridge.caption()["output_mode"] == "json_object"
    assert set(bridge.server.calls[-1].body["response_format"]["schema"]["properties"]) == {"caption", "note"}


@only("vllm")
def test_an_unexplained_400_tries_one_more_mode_and_reports_the_message(bridge: Bridge) -> None:
    bridge.server.default = recorded_errors.UNEXPLAINED
    problem = bridge.post().json()
    assert [attempt["provider_message"] for attempt in problem["attempts"]] == ["Bad request"] * 2
    assert 'The provider\'s message: "Bad request".' in problem["detail"]


@only(*(kind.kind for kind in PROTOCOLS if "temperature" in kind.options))
def test_a_white_space_runaway_is_re_asked_with_a_temperature(bridge: Bridge) -> None:
    """The usage of both calls is counted."""
    bridge.server.reply(b.Length('{"caption":' + "\n" * 100), b.Answer(GOOD))
    caption = bridge.caption(temperature=0)
    temperature = bridge.kind.options["temperature"]
    assert [call.options[temperature] for call in bridge.server.calls] == [0, 0.2]
    assert caption["usage"] == usage(bridge.kind, 2)


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


def test_no_sequence_of_failures_causes_a_fifth_call(service: Service) -> None:
    """The scripts run concurrently, because most of the time is spent waiting for retries."""

    def check(seed: int) -> None:
        random = Random(seed)
        script = random.choices(FAULTS, k=6)
        with KIND_BY_NAME["vllm"].server(key=KEY) as server:
            server.reply(*script)
            response = Bridge(service, KIND_BY_NAME["vllm"], server).post(max_output_retries=random.randrange(4))
            assert len(server.calls) <= MAX_CALLS, script
            assert response.json().get("code") != "internal_error"
            answered = script[len(server.calls) - 1] == b.Answer(GOOD)
            assert (response.status_code == 200) == answered, json.dumps(response.json())

    with ThreadPoolExecutor(10) as threads:
        list(threads.map(check, range(30)))
