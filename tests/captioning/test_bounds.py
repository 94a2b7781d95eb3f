"""What strangers can make long stays cheap: the event loop is everybody's."""

import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from starlette.requests import Request

from bridge.api import body
from bridge.api.body import parse_object
from bridge.captioning.models import CaptionRequest
from bridge.captioning.parse import validate
from bridge.captioning.read import objects
from bridge.captioning.structured import OutputInvalid, ask_until_it_fits, read
from bridge.captioning.watch import Telling
from bridge.errors import InvalidRequest
from bridge.settings import Settings
from perspectives import Validator, compile_schema
from perspectives.errors import InvalidPerspective, ValidationFailed
from perspectives.perspective import parse
from providers.base import Completion, VisionRequest

CPU_SECONDS = 3.0
LOOP_SECONDS = 0.1
ASKED = VisionRequest(model="m", prompt="p", timeout=1)
MIB = 1024 * 1024


def cheaply(work: Callable[[], Any]) -> Any:
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
def test_a_models_text_is_read_in_time(text: str) -> None:
    cheaply(lambda: list(objects(text)))


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
def test_a_request_of_a_million_mistakes_is_told_shortly(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as raised:
        cheaply(lambda: validate(CaptionRequest, {"perspective": "alt_text", **fields}))
    assert len(str(raised.value)) + len(str(raised.value.problems)) < 5_000


@pytest.mark.parametrize("part", [b"[],", b"{},", b"1,", b"[" * 100 + b"]" * 100 + b","], ids=["[]", "{}", "1", "deep"])
def test_a_body_of_millions_of_values_is_not_parsed(part: bytes) -> None:
    body = b'{"variables":[' + part * (24 * MIB // len(part)) + b"1]}"
    for text in (body, body.decode()):
        with pytest.raises(InvalidRequest, match="more values"):
            cheaply(lambda text=text: parse_object(text))


async def test_nor_are_the_parts_of_a_form() -> None:
    part = b'--x\r\ncontent-disposition: form-data; name="variables"\r\n\r\n[' + b"[]," * 60_000 + b"1]\r\n"
    form = part.replace(b"variables", b"a") + part.replace(b"variables", b"b") * 3 + b"--x--\r\n"

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": form, "more_body": False}

    scope = {"type": "http", "headers": [(b"content-type", b"multipart/form-data; boundary=x")]}
    with pytest.raises(InvalidRequest, match="more values"):
        await body.read(Request(scope, receive), Settings())


def test_a_book_is_no_crowd() -> None:
    prose = "Well, well, well, said he. " * 50_000
    assert parse_object(json.dumps({"global_context": prose}))["global_context"] == prose


def test_what_people_send_is_no_crowd() -> None:
    wide = {"type": "object", "properties": {f"f{i}": {"type": "string"} for i in range(999)}}
    wide["properties"]["kind"] = {"enum": [f"kind {i}" for i in range(1_000)]}
    asked = {
        "perspective": {"name": "wide", "prompt": "p", "json_schema": wide},
        "context": ["a"] * 100,
        "variables": {f"v{i}": "x" for i in range(1_000)},
        "provider_config": {"kind": "openai", "models": [{"id": i, "name": "m", "tags": ["a"]} for i in range(1_000)]},
    }
    assert validate(CaptionRequest, asked).context == asked["context"]
    assert parse(asked["perspective"])


def nested_choice(levels: int, leaf: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    """Alternatives of alternatives, four each."""
    numbers = itertools.count()

    def choice(left: int) -> dict[str, Any]:
        return {"anyOf": [choice(left - 1) for _ in range(4)]} if left else leaf(next(numbers))

    return choice(levels)


CONSTANTS = {"type": "array", "items": nested_choice(4, lambda number: {"const": f"k{number}"})}
LISTS = nested_choice(4, lambda number: {"type": "array", "items": {"enum": ["k", number]}})
WIDE = {"type": "object", "properties": {f"f{i}": {} for i in range(990)}}
WIDE_ROWS = {"type": "array", "items": {"type": "array", "items": WIDE}}
COSTLY = {
    "many objects": (CONSTANTS, "So: " + " ".join([json.dumps({"a": ["k255"] * 120 + ["nope"]})] * 32)),
    "long lists": (LISTS, json.dumps({"a": ["k"] * 9_000 + ["nope"]})),
    "wide": (WIDE_ROWS, json.dumps({"a": [[{}] * 9_000] * 30})),
}


def of(schema: dict[str, Any]) -> Validator:
    return compile_schema({"type": "object", "properties": {"a": schema}})


@pytest.mark.parametrize("what", COSTLY)
def test_an_answer_is_read_in_time_whatever_its_schema(what: str) -> None:
    schema, text = COSTLY[what]
    with pytest.raises(ValidationFailed):
        cheaply(lambda: read(text, of(schema)))


def test_large_answers_with_alternatives_still_fit() -> None:
    region = {"anyOf": [{"type": "object", "properties": {"kind": {"const": i}, "x": {}}} for i in range(16)]}
    regions = [{"kind": 15, "x": [1, 2, 3, 4]}] * 500
    assert read(json.dumps({"a": regions}), of({"type": "array", "items": region})) == {"a": regions}


async def test_answers_are_read_beside_the_loop() -> None:
    """The re-ask too: what is read there holds up everybody."""
    schema, text = CONSTANTS, json.dumps({"a": ["k255"] * 100 + ["nope"]})
    shown: list[VisionRequest] = []

    async def ask(request: VisionRequest) -> Completion:
        shown.append(request)
        return Completion(text, "m")

    async def caption(compiled: Validator) -> None:
        with pytest.raises(OutputInvalid):
            await ask_until_it_fits(ask, ASKED, compiled, 3, lambda: 9, lambda _: None)

    await caption(of({"type": "integer"}))  # imports instructor
    compiled = of(schema)
    before = time.thread_time()
    await caption(compiled)
    assert time.thread_time() - before < LOOP_SECONDS
    assert len(shown) == 8


async def test_what_is_told_while_it_is_written_is_read_beside_the_loop() -> None:
    async def told(*_: object) -> None:
        """Nobody listens."""

    schema, text = COSTLY["wide"]
    document = {"prompt": "p", "json_schema": {"type": "object", "properties": {"a": schema}}}
    watch = Telling(parse(document), told, told, told)
    before = time.thread_time()
    await watch.text(text)
    assert time.thread_time() - before < LOOP_SECONDS


async def test_a_re_ask_names_few_of_many_mistakes() -> None:
    shown: list[VisionRequest] = []

    async def ask(request: VisionRequest) -> Completion:
        shown.append(request)
        return Completion(json.dumps({"a": ["x"] * 2_000} if len(shown) == 1 else {"a": [1]}), "m")

    whole_numbers = of({"type": "array", "items": {"type": "integer"}})
    assert (await ask_until_it_fits(ask, ASKED, whole_numbers, 1, lambda: 9, lambda _: None)).result == {"a": [1]}
    mend = shown[1].turns[-1].text
    assert "/a/0: Must be a whole number, not text." in mend
    assert len(mend) < 2_500


def test_a_flag_is_no_number_and_null_is_nothing() -> None:
    """As the document says it: pydantic alone takes true for 1."""
    for name in ("max_tokens", "temperature", "top_p", "repetition_penalty", "seed", "timeout", "max_output_retries"):
        with pytest.raises(InvalidRequest) as caught:
            validate(CaptionRequest, {"perspective": "p", name: True})
        assert caught.value.problems[0] == (f"/{name}", "is a number, not true or false")
    assert validate(CaptionRequest, {"perspective": "p", "fallbacks": None}).fallbacks == []


def test_a_long_name_is_told_short() -> None:
    with pytest.raises(InvalidPerspective) as caught:
        parse({"prompt": "p", "json_schema": {"type": "object", "properties": {"n" * 100_000: 5}}})
    assert len(str(caught.value)) < 1_000
