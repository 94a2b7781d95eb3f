"""Untrusted input is parsed in bounded time, and what takes long does not run on the event loop."""

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from starlette.requests import Request

from bridge.api.request_body import parse_object, read_body
from bridge.captioning.models import CaptionRequest
from bridge.captioning.parsing import objects, parse_request
from bridge.captioning.partials import PartialObjects
from bridge.deadline import Deadline
from bridge.errors import InvalidRequest, OutputInvalid
from bridge.run import Run
from bridge.settings import Settings
from perspectives.perspective import parse
from tests.captioning.test_structured import Script

CPU_SECONDS = 3.0
MIB = 1024 * 1024


def bounded(work: Callable[[], Any]) -> Any:
    """Return the result of `work`, which must not take much CPU time."""
    before = time.process_time()
    try:
        return work()
    finally:
        assert time.process_time() - before < CPU_SECONDS


@pytest.mark.parametrize(
    "text",
    [
        "```" + "a" * MIB,
        "``` " + " " * MIB + "x",
        "```" * (MIB // 3),
        "{" * MIB,
        '{"a":[1,1,' * (MIB // 10),
        '{"b":[1' + ",1" * 20_000 + "]}x" * 20,
    ],
    ids=["letters", "blanks", "fences", "braces", "unclosed", "prose"],
)
def test_the_text_of_a_model(text: str) -> None:
    bounded(lambda: list(objects(text)))


@pytest.mark.parametrize(
    "fields",
    [
        {"context": [1] * MIB},
        {str(number): 1 for number in range(MIB)},
        {"variables": {str(number): 1 for number in range(MIB)}},
        {"provider_config": {"kind": "vllm", "models": [[]] * MIB}},
        {"x" * MIB: 1},
        {"x": [[[1] * 1_000] * 1_000] * 40},
    ],
    ids=["context", "fields", "variables", "models", "name", "lists"],
)
def test_a_request_with_a_million_mistakes_gets_a_short_error(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as raised:
        bounded(lambda: parse_request(CaptionRequest, {"perspective": "alt_text", **fields}))
    assert len(str(raised.value)) + len(str(raised.value.problems)) < 5_000


@pytest.mark.parametrize("part", [b"[],", b"{},", b"1,", b"[" * 100 + b"]" * 100 + b","], ids=["[]", "{}", "1", "deep"])
def test_a_body_of_millions_of_values_is_rejected(part: bytes) -> None:
    body = b'{"variables":[' + part * (24 * MIB // len(part)) + b"1]}"
    for text in (body, body.decode()):
        with pytest.raises(InvalidRequest, match="values"):
            bounded(lambda text=text: parse_object(text))


async def test_a_form_of_millions_of_values_is_rejected() -> None:
    part = b'--x\r\ncontent-disposition: form-data; name="variables"\r\n\r\n[' + b"[]," * 60_000 + b"1]\r\n"
    form = part.replace(b"variables", b"a") + part.replace(b"variables", b"b") * 3 + b"--x--\r\n"

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": form, "more_body": False}

    scope = {"type": "http", "headers": [(b"content-type", b"multipart/form-data; boundary=x")]}
    with pytest.raises(InvalidRequest, match="values"):
        await read_body(Request(scope, receive), Settings())


def test_large_but_usual_requests_are_accepted() -> None:
    prose = "Well, well, well, said he. " * 50_000
    assert parse_object(json.dumps({"global_context": prose}))["global_context"] == prose
    wide = {"type": "object", "properties": {f"f{i}": {"type": "string"} for i in range(999)}}
    wide["properties"]["kind"] = {"enum": [f"kind {i}" for i in range(1_000)]}
    fields = {
        "perspective": {"name": "wide", "prompt": "p", "json_schema": wide},
        "context": ["a"] * 100,
        "variables": {f"v{i}": "x" for i in range(1_000)},
        "provider_config": {"kind": "openai", "models": [{"id": i, "name": "m", "tags": ["a"]} for i in range(1_000)]},
    }
    assert parse_request(CaptionRequest, fields).context == fields["context"]
    assert parse(fields["perspective"])


def nested_choice(levels: int, leaf: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    """Return alternatives of alternatives, four each."""
    numbers = itertools.count()

    def choice(left: int) -> dict[str, Any]:
        return {"anyOf": [choice(left - 1) for _ in range(4)]} if left else leaf(next(numbers))

    return choice(levels)


CHOICES = {"type": "array", "items": nested_choice(4, lambda number: {"const": f"k{number}"})}
WIDE = {"type": "object", "properties": {f"f{i}": {} for i in range(990)}}


def schema_of(a: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": a}}


async def loop_turns(work: Any) -> int:
    """Return how often another task ran while `work` was awaited."""
    turns = 0
    working = asyncio.ensure_future(work)
    while not working.done():
        await asyncio.sleep(0)
        turns += 1
    await asyncio.wait([working])
    return turns


async def test_answers_are_validated_off_the_event_loop() -> None:
    """Re-asks too."""
    script = Script(json.dumps({"a": ["k255"] * 100 + ["nope"]}))

    async def ask() -> None:
        with pytest.raises(OutputInvalid):
            await script.ask(1, schema=schema_of(CHOICES))

    await Script("{}", '{"a": 1}').ask(1, schema={**schema_of({"type": "integer"}), "required": ["a"]})  # imports
    assert await loop_turns(ask()) > 20
    assert len(script.requests) == 2


async def test_partial_objects_are_parsed_off_the_event_loop() -> None:
    run = Run(Deadline(60), emit=lambda event: None, streaming=True)
    schema = schema_of({"type": "array", "items": {"type": "array", "items": WIDE}})
    partials = PartialObjects(run, schema)
    assert await loop_turns(partials.add(json.dumps({"a": [[{}] * 9_000] * 30}))) > 20


async def test_a_re_ask_names_only_some_of_many_mistakes() -> None:
    script = Script(json.dumps({"a": ["x"] * 2_000}), '{"a": [1]}')
    schema = schema_of({"type": "array", "items": {"type": "integer"}})
    assert (await script.ask(1, schema=schema)).result == {"a": [1]}
    correction = script.requests[1].turns[-1].text
    assert "/a/0: " in correction
    assert len(correction) < 4_000


def test_booleans_are_not_numbers_and_null_is_unset() -> None:
    for name in ("max_tokens", "temperature", "top_p", "repetition_penalty", "seed", "timeout", "max_output_retries"):
        with pytest.raises(InvalidRequest) as raised:
            parse_request(CaptionRequest, {"perspective": "p", name: True})
        assert raised.value.problems[0] == (f"/{name}", "must be a number, not true or false")
    assert parse_request(CaptionRequest, {"perspective": "p", "fallbacks": None}).fallbacks == []
