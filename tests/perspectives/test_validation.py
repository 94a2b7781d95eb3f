"""Validation of answers: accepted values, conversions and errors."""

from typing import Any

import pytest

from perspectives import ValidationFailed, compile_schema
from tests.perspectives.test_schema import STRING, of

Schema = dict[str, Any]
INTEGER = {"type": "integer"}


def required(node: Any, **more: Any) -> Schema:
    return {**of(node, required=["a"]), **more}


def problems_of(value: object, schema: Schema) -> list[tuple[str, str]]:
    with pytest.raises(ValidationFailed) as caught:
        compile_schema(schema).validate(value)
    return [(problem.pointer, problem.message) for problem in caught.value.problems]


ENFORCED: list[tuple[Schema, Any, Any, str, str]] = [
    ({"type": ["string", "null"]}, None, 1, "", 'is not of types "null", "string".'),
    ({"enum": ["x", 2]}, 2, "z", "", 'The value is not one of "x", 2.'),
    ({"additionalProperties": INTEGER}, {"q": 1}, {"q": "x"}, "/q", 'is not of type "integer".'),
    ({"properties": {}, "additionalProperties": False}, {}, {"q": 1}, "/q", "The object has no property"),
    ({"patternProperties": {"^x": INTEGER}}, {"x": 1, "y": ""}, {"x": ""}, "/x", 'is not of type "integer".'),
    ({"allOf": [of({})], "unevaluatedProperties": False}, {"a": 1}, {"b": 1}, "/b", "The object has no property"),
    ({"items": STRING}, ["x"], ["y", 1], "/1", 'is not of type "string".'),
    ({"uniqueItems": True}, [1, True], [{"x": 1, "y": 2}, {"y": 2.0, "x": 1}], "", "has non-unique elements."),
    ({"minLength": 2}, "äö", "ä", "", "is shorter than 2 characters."),
    ({"pattern": "b{2}"}, "abba", "aba", "", 'does not match "b{2}".'),
    ({"format": "date"}, "2024-02-29", "2023-02-29", "", 'is not a "date".'),
    ({"minimum": 0.5}, 0.5, 0.4, "", "is less than the minimum of 0.5."),
    ({"multipleOf": 0.1}, 0.3, 0.35, "", "is not a multiple of 0.1."),
    ({"not": STRING}, 1, "x", "", "matches the schema under `not`."),
    ({"oneOf": [STRING, {"maxLength": 3}]}, 1, "x", "", "valid under more than one of the schemas"),
    ({"anyOf": [STRING, INTEGER]}, 1, [], "", "not valid under any of the schemas"),
    ({"anyOf": [of(INTEGER), {"type": "null"}]}, None, {"a": "x"}, "/a", 'is not of type "integer".'),
    (
        {"oneOf": [required({"const": "x"}), required({"const": "y"}, minProperties=2)]},
        {"a": "x"},
        {"a": "y"},
        "",
        "has less than 2 properties.",
    ),
]


@pytest.mark.parametrize(("node", "valid", "invalid", "pointer", "message"), ENFORCED)
def test_keyword_is_enforced(node: Schema, valid: Any, invalid: Any, pointer: str, message: str) -> None:
    assert compile_schema(required(node)).validate({"a": valid}).value == {"a": valid}
    ((at, sentence),) = problems_of({"a": invalid}, required(node))
    assert (at, message in sentence) == ("/a" + pointer, True), sentence


@pytest.mark.parametrize(
    ("node", "value", "result"),
    [
        ({"type": "number"}, "0.8", 0.8),
        ({"type": ["integer", "null"]}, str(2**60 + 1), 2**60 + 1),
        ({"type": "array", "items": {"type": "object", "properties": {"x": INTEGER}}}, [{"x": "1"}], [{"x": 1}]),
    ],
)
def test_numbers_written_as_text_are_converted(node: Schema, value: Any, result: Any) -> None:
    kept = compile_schema(required(node)).validate({"a": value}).value
    assert kept == {"a": result}
    assert type(kept["a"]) is type(result)


@pytest.mark.parametrize(
    ("node", "value"),
    [
        ({"type": "number"}, True),
        ({"type": "number"}, "about 3"),
        ({"type": "boolean"}, 1),
        (STRING, 5),
        ({"anyOf": [INTEGER, {"type": "null"}]}, "1"),
        ({"type": "object", "properties": {"x": STRING}, "required": ["x"]}, {"x": None}),
    ],
)
def test_invalid_values_are_not_converted_by_guessing(node: Schema, value: Any) -> None:
    assert problems_of({"a": value}, required(node))[0][0].startswith("/a")


def test_valid_answer_is_returned_as_it_is() -> None:
    nodes: Schema = {"maybe": {"type": ["string", "null"]}, "any": {}, "number": INTEGER, "text": STRING}
    answer = {"text": "1", "maybe": None, "any": None, "number": 3.0}
    kept = compile_schema({"type": "object", "properties": nodes}).validate(answer)
    assert (kept.value, kept.warnings) == (answer, ())
    assert list(kept.value) == ["maybe", "any", "number", "text"], "the schema's order"


@pytest.mark.parametrize(
    ("more", "dropped"),
    [
        ({}, True),
        ({"additionalProperties": INTEGER}, False),
        ({"anyOf": [{"required": ["b"]}, {"required": ["c"]}]}, False),
        ({"dependentRequired": {"b": ["c"]}}, False),
    ],
)
def test_undeclared_property_is_dropped_unless_the_schema_forbids_it(more: Schema, dropped: bool) -> None:
    node = {"type": "object", "properties": {"b": STRING}, **more}
    kept = compile_schema(required({"type": "array", "items": node})).validate({"a": [{"c": 1, "b": "x"}]})
    assert kept.value == {"a": [{"b": "x"} if dropped else {"b": "x", "c": 1}]}
    assert [warning for warning in kept.warnings if "/a/0/c" in warning] == list(kept.warnings)
    assert bool(kept.warnings) is dropped


WIDE = {f"f{index}": STRING for index in range(900)}
COSTLY: dict[str, tuple[Schema, Any]] = {
    "a list of empty objects": (
        {"type": "array", "items": {"type": "object", "properties": WIDE, "required": list(WIDE)}},
        [{}] * 10_000,
    ),
    "wrong items": ({"type": "array", "items": INTEGER}, ["x"] * 100_000),
    "none of many alternatives": (
        {"type": "array", "items": {"anyOf": [{"const": f"{index}"} for index in range(500)]}},
        ["none"] * 600,
    ),
    "pattern": ({"type": "string", "pattern": "^(a+)+$"}, "a" * 100_000 + "!"),
}


@pytest.mark.parametrize("what", COSTLY)
def test_many_mistakes_are_not_all_listed(what: str) -> None:
    """Ten million mistakes would take 4 GB. (benchmarks/schemas.py measures the time.)"""
    schema, value = COSTLY[what]
    problems = problems_of({"a": value}, required(schema))
    assert 1 <= len(problems) <= 20
    assert all(pointer.startswith("/a") for pointer, _ in problems)


def test_answer_that_would_take_too_long_is_rejected() -> None:
    chain: Schema = {"properties": {"a": {}}}
    for level in range(20):
        chain = {"unevaluatedProperties": False, "allOf": [chain, {"properties": {f"p{level}": {}}}]}
    choices = {"type": "array", "items": {"anyOf": [{"enum": [{"k": n}]} for n in range(1_000)]}}
    patterns = {"pattern": "[ab]*a[ab]{500}c"}
    for node, value in ((chain, {"a": 1}), (choices, [{"k": 999}] * 5_000), (patterns, "ab" * 50_000)):
        ((pointer, message),) = problems_of({"a": value}, of(node))
        assert (pointer, "too large to be validated" in message) == ("", True)
