"""Accepted schemas, their normalisation, and the errors of rejected schemas."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from perspectives import InvalidPerspective, compile_schema, parse
from perspectives.errors import MAX_PROBLEMS
from perspectives.keywords import KEYWORDS

Schema = dict[str, Any]
STRING = {"type": "string"}
LOOP = {"$defs": {"n": {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}}}}
DEFINED = {"$defs": {"x": {"type": "string", "description": "inner", "maxLength": 3}}}


def of(node: Any, **more: Any) -> Schema:
    return {"type": "object", "properties": {"a": node}, **more}


def rejected(schema: Any) -> dict[str, str]:
    with pytest.raises(InvalidPerspective) as caught:
        compile_schema(schema)
    problems = caught.value.problems
    assert len(problems) <= MAX_PROBLEMS
    assert all(problem.message.endswith((".", "?")) for problem in problems), problems
    return {problem.pointer: problem.message for problem in problems}


def nested(levels: int, wrap: Callable[[Any], Any], inner: Any = STRING) -> Any:
    for _ in range(levels):
        inner = wrap(inner)
    return inner


@pytest.mark.parametrize(
    ("node", "result"),
    [
        ({"$ref": "#/$defs/x", "description": "outer"}, {**DEFINED["$defs"]["x"], "description": "outer"}),
        ({"$ref": "#/$defs/x", "minLength": 1}, {"allOf": [DEFINED["$defs"]["x"]], "minLength": 1}),
        ({"$ref": "#/properties/b"}, {"type": "integer"}),
        ({"items": [STRING], "additionalItems": False}, {"prefixItems": [STRING], "items": False}),
        (
            {"dependencies": {"p": ["q"], "r": STRING}},
            {"dependentRequired": {"p": ["q"]}, "dependentSchemas": {"r": STRING}},
        ),
        ({"$comment": "c", "x-order": 1, "$id": "#a", "discriminator": {}}, {}),
        ({"properties": {"p": True, "q": False}}, {"properties": {"p": {}, "q": {"not": {}}}}),
        (False, {"not": {}}),
    ],
)
def test_schema_is_normalised(node: Any, result: Schema) -> None:
    more = {"$id": "https://example.org/s", "$defs": DEFINED["$defs"]}
    schema = of(node, **more)
    schema["properties"]["b"] = {"type": "integer", "$anchor": "b", "$dynamicAnchor": "b"}
    validator = compile_schema(schema)
    assert validator.json_schema["properties"]["a"] == {word: result[word] for word in KEYWORDS if word in result}
    assert json.dumps(compile_schema(validator.json_schema).json_schema) == json.dumps(validator.json_schema)
    assert "$defs" not in validator.json_schema


@pytest.mark.parametrize(
    "root",
    [
        {"properties": {"a": {}}},
        {"oneOf": [of({}, required=["a"]), of({})]},
        {"type": "object", "patternProperties": {"^a": STRING}},
        {"$ref": "#/definitions/x", "definitions": {"x": of(STRING)}},
    ],
)
def test_root_is_an_object(root: Schema) -> None:
    assert compile_schema(root).json_schema["type"] == "object"


@pytest.mark.parametrize(
    ("node", "more", "pointer", "words"),
    [
        ({"$ref": "https://example.org/s.json"}, {}, "/$ref", "same schema"),
        ({"$ref": "#/$defs/n"}, LOOP, "/$defs/n/properties/next/$ref", "recursive"),
        ({"requird": ["b"]}, {}, "/requird", "required"),
        ({"type": "text"}, {}, "/type", "array"),
        ({"type": "string", "minLength": -1}, {}, "/minLength", "minimum of 0"),
        ({"pattern": "(?=a)b"}, {}, "/pattern", "look-around"),
        ({"pattern": r"(a)\1"}, {}, "/pattern", "pattern"),
        ({"pattern": "a{" + "9" * 400 + "}"}, {}, "/pattern", "too large"),
    ],
)
def test_mistake_is_rejected_with_its_place(node: Any, more: Schema, pointer: str, words: str) -> None:
    place = pointer if pointer.startswith("/$defs") else "/properties/a" + pointer
    problems = rejected(of(node, **more))
    assert list(problems) == [place]
    assert words in problems[place]


def test_all_mistakes_are_reported_with_their_place_in_the_perspective() -> None:
    nodes = {"a": {"type": "text"}, "b": 5, "c": {"pattern": "(", "allOg": []}, "d": {"$ref": "http://x"}}
    with pytest.raises(InvalidPerspective) as caught:
        parse({"prompt": "p", "json_schema": {"type": "object", "properties": nodes}})
    assert [problem.pointer.removeprefix("/json_schema/properties") for problem in caught.value.problems] == [
        *("/a/type", "/b", "/c/pattern", "/c/allOg", "/d/$ref")
    ]


LAUGHS = {f"d{i}": {"properties": {f"x{j}": {"$ref": f"#/$defs/d{i + 1}"} for j in range(10)}} for i in range(9)}
TOO_MUCH: dict[str, Any] = {
    "depth of JSON": of({"default": nested(10_000, lambda inner: [inner])}),
    "depth": of(nested(33, lambda inner: {"type": "array", "items": inner})),
    "nodes": of({"properties": {f"f{i}": {} for i in range(5_000)}}),
    "references that multiply": of({"$ref": "#/$defs/d0"}, **{"$defs": {**LAUGHS, "d9": STRING}}),
    "least answer": of(nested(3, lambda inner: {"type": "array", "minItems": 100, "items": inner})),
    "patterns": of({"properties": {f"f{i}": {"pattern": rf"^\p{{L}}{{8}}{i}$"} for i in range(40)}}),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_schema_over_a_limit_is_rejected(what: str) -> None:
    assert rejected(TOO_MUCH[what])
