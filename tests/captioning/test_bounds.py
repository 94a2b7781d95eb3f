"""What strangers can make long stays cheap: the event loop is everybody's."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from bridge.captioning.errors import InvalidRequest
from bridge.captioning.parse import validate
from bridge.captioning.read import objects
from bridge.captioning.types import CaptionRequest
from perspectives import render
from perspectives.errors import DoesNotFit, InvalidPerspective
from perspectives.perspective import parse
from perspectives.schema import compile_schema

CPU_SECONDS = 1.0
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
    ],
    ids=["context", "fields", "variables", "models", "name"],
)
def test_a_request_of_a_million_mistakes_is_told_shortly(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as raised:
        cheaply(lambda: validate(CaptionRequest, {"perspective": "alt_text", **fields}))
    assert len(str(raised.value)) + len(str(raised.value.problems)) < 5_000


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ({"type": "array", "items": {"type": "integer"}}, ["x"] * 200_000),
        (
            {"type": "object", "properties": {"b": {}}, "additionalProperties": False},
            dict.fromkeys(map(str, range(99_999))),
        ),
        ({"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "boolean"}]}}, ["x"] * 200_000),
    ],
    ids=["items", "extra", "union"],
)
def test_an_answer_of_a_million_mistakes_is_told_shortly(schema: dict[str, Any], answer: Any) -> None:
    compiled = compile_schema({"type": "object", "properties": {"a": schema}})
    with pytest.raises(DoesNotFit) as raised:
        cheaply(lambda: compiled.validate({"a": answer}))
    assert len(raised.value.problems) <= 21


def test_blanks_do_not_hide_what_a_pattern_costs() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(?:[ab]?){ 60000 }c$"}}}
    with pytest.raises(InvalidPerspective):
        cheaply(lambda: compile_schema(schema))


def test_a_template_cannot_multiply_an_answer_without_end() -> None:
    document = {
        "prompt": "p",
        "json_schema": {"type": "object", "properties": {"a": {"type": "string"}}},
        "context_template": "{a}" * 100,
    }
    text = cheaply(lambda: render.caption(parse(document), {"a": "x" * MIB}))
    assert len(text) <= 1_000_001


def test_a_flag_is_no_number_and_null_is_nothing() -> None:
    """As the document says it: pydantic alone takes true for 1."""
    for name in ("max_tokens", "temperature", "top_p", "repetition_penalty", "seed", "timeout", "max_output_retries"):
        with pytest.raises(InvalidRequest) as caught:
            validate(CaptionRequest, {"perspective": "p", name: True})
        assert caught.value.problems[0] == (f"/{name}", "is a number, not true or false")
    assert validate(CaptionRequest, {"perspective": "p", "fallbacks": None}).fallbacks == []


def test_a_long_name_is_told_short() -> None:
    with pytest.raises(InvalidPerspective) as caught:
        parse({"prompt": "p", "json_schema": {"type": "object", "properties": {"n" * 100_000: {}}}})
    assert len(str(caught.value)) < 1_000
