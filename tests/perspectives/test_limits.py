"""Perspectives of strangers: nothing in them takes long, deep or much."""

import re
from collections.abc import Callable
from time import process_time
from typing import Any

import pytest

from perspectives import InvalidPerspective, ValidationFailed, compile_schema, limits, parse, patterns

BUDGET = 0.25
"""Seconds of CPU, measured best of three: the machine is shared."""


def cheapest(work: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        before = process_time()
        work()
        times.append(process_time() - before)
    return min(times)


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def nested(levels: int, wrap: Callable[[Any], Any], inner: Any = None) -> Any:
    made = {"type": "string"} if inner is None else inner
    for _ in range(levels):
        made = wrap(made)
    return made


LAUGHS = {
    "$defs": {
        **{f"d{i}": of(**{f"x{j}": {"$ref": f"#/$defs/d{i + 1}"} for j in range(10)}) for i in range(9)},
        "d9": {"type": "string"},
    },
    **of(a={"$ref": "#/$defs/d0"}),
}
CHAIN = {"$defs": {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(2000)}, **of(a={"$ref": "#/$defs/d0"})}
UNIONS = nested(5, lambda inner: {"anyOf": [inner, {"type": "array", "items": inner}]})
WIDE_UNIONS = nested(
    4, lambda inner: {"anyOf": [inner, *[{"type": "array", "items": {"type": "integer"}} for _ in range(15)]]}
)

TOO_MUCH: dict[str, Any] = {
    "bytes": of(a={"type": "string", "description": "x" * limits.MAX_BYTES}),
    "values": of(a={"examples": list(range(limits.MAX_VALUES))}),
    "json depth": of(a={"default": nested(10_000, lambda inner: [inner])}),
    "answer depth": of(a=nested(limits.MAX_DEPTH, lambda inner: {"type": "array", "items": inner})),
    "fields": of(**{f"f{i}": {} for i in range(limits.MAX_FIELDS + 1)}),
    "name": of(**{"x" * (limits.MAX_NAME + 1): {}}),
    "enum": of(a={"enum": list(range(limits.MAX_ENUM + 1))}),
    "enums": of(**{f"f{i}": {"enum": list(range(101))} for i in range(10)}),
    "branches": of(a={"anyOf": [{"type": "string"}] * (limits.MAX_BRANCHES + 1)}),
    "unions": of(a=UNIONS),
    "laughs": LAUGHS,
    "chain": CHAIN,
    "allOf chain": of(a=nested(200, lambda inner: {"allOf": [inner]})),
    "least": of(a=nested(3, lambda inner: {"type": "array", "minItems": 100, "items": inner})),
    "least text": of(a={"type": "string", "minLength": limits.MAX_LEAST}),
    "pattern length": of(a={"type": "string", "pattern": "a" * (limits.MAX_PATTERN + 1)}),
    "pattern repeats": of(a={"type": "string", "pattern": r"(\w{30}){30}"}),
    "pattern classes": of(a={"type": "string", "pattern": r"\w{1000}"}),
    "patterns": of(**{f"f{i}": {"type": "string", "pattern": rf"^\w{{1,8}}{i}$"} for i in range(40)}),
    "problems": of(**{f"f{i}": {"type": "text"} for i in range(900)}),
    "keywords": of(a={f"allOg{i}": i for i in range(8000)}),
    "number": of(a={"type": "integer", "minimum": 10**400}),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_too_much_is_refused_and_quickly(what: str) -> None:
    def refuse() -> None:
        with pytest.raises(InvalidPerspective) as caught:
            parse({"prompt": "p", "json_schema": TOO_MUCH[what]})
        assert 1 <= len(caught.value.problems) <= limits.MAX_PROBLEMS + 1

    assert cheapest(refuse) < BUDGET


JUST_ENOUGH: dict[str, Any] = {
    "fields": of(**{f"f{i}": {"type": "string", "maxLength": 9} for i in range(limits.MAX_FIELDS)}),
    "answer depth": of(a=nested(limits.MAX_DEPTH - 1, lambda inner: {"type": "array", "items": inner})),
    "objects in objects": of(a=nested(60, lambda inner: of(b=inner))),
    "enum": of(a={"enum": [f"value {i}" for i in range(limits.MAX_ENUM)]}),
    "unions": of(**{f"f{i}": WIDE_UNIONS for i in range(12)}),
    "pattern": of(a={"type": "string", "pattern": r"\w{140}"}),
    "many patterns": of(**{f"f{i}": {"type": "string", "pattern": f"^[a-z]+{i}$"} for i in range(900)}),
}


@pytest.mark.parametrize("what", JUST_ENOUGH)
def test_what_is_just_within_the_limits_compiles_quickly(what: str) -> None:
    patterns.compiled.cache_clear()
    fresh = iter(range(10))

    def accept() -> None:
        parse({"prompt": "p", "json_schema": {**JUST_ENOUGH[what], "title": str(next(fresh))}}).to_wire()

    assert cheapest(accept) < BUDGET


def test_deep_perspectives_are_read_from_deep_in_the_stack() -> None:
    def deep(levels: int) -> object:
        return deep(levels - 1) if levels else parse({"prompt": "p", "json_schema": JUST_ENOUGH["objects in objects"]})

    assert deep(250)


def test_limits_of_the_whole_perspective() -> None:
    for data in (
        {"prompt": "x" * limits.MAX_BYTES},
        {"prompt": "p", "tags": ["t"] * limits.MAX_VALUES},
        {"prompt": "p", "extra": nested(5000, lambda inner: {"x": inner})},
    ):
        with pytest.raises(InvalidPerspective) as caught:
            parse(data)
        assert len(caught.value.problems) == 1


def test_a_pattern_never_runs_in_a_backtracking_engine() -> None:
    evil = "^(a+)+$"
    compiled = compile_schema(of(a={"type": "string", "pattern": evil}))

    def ask() -> None:
        with pytest.raises(ValidationFailed):
            compiled.validate({"a": "a" * 20_000 + "!"})

    assert cheapest(ask) < BUDGET
    assert re.compile(evil)


def test_unique_items_are_compared_by_hash() -> None:
    compiled = compile_schema(of(a={"type": "array", "uniqueItems": True, "items": {"type": "object"}}))
    items = [{"x": i, "y": [i, {"z": i}]} for i in range(8_000)]
    assert cheapest(lambda: compiled.validate({"a": items})) < BUDGET
    with pytest.raises(ValidationFailed) as caught:
        compiled.validate({"a": [*items, {"y": [0, {"z": 0.0}], "x": -0.0}]})
    assert "8001" in caught.value.problems[0].message


def test_huge_numbers_and_deep_values_in_an_answer_are_refused_quietly() -> None:
    compiled = compile_schema(of(a={"type": "number", "multipleOf": 0.01}, b={}, c={"type": "integer"}))
    for answer in (
        {"a": "9" * 100_000},
        {"a": float("inf")},
        {"a": 1e-300},
        {"b": nested(50_000, lambda inner: [inner])},
        {"c": "1e400"},
    ):
        with pytest.raises(ValidationFailed):
            compiled.validate(answer)
    assert compiled.validate({"a": 10**4000, "c": 10**4000})["c"] == 10**4000


def test_compiled_schemas_are_kept_and_large_ones_are_not() -> None:
    small, large = of(a={"type": "string"}), of(a={"type": "string", "description": "x" * 40_000})
    assert compile_schema(small) is compile_schema(dict(small))
    assert compile_schema(large) is not compile_schema(large)


WIDE = {"type": "object", "properties": {f"f{i}": {"type": "string"} for i in range(900)}}
WIDE = {**WIDE, "required": list(WIDE["properties"])}
CHOICES = {
    "anyOf": [
        {"anyOf": [{"anyOf": [{"const": f"{i} {j} {k}"} for k in range(10)]} for j in range(8)]} for i in range(9)
    ]
}
MANY_MISTAKES: dict[str, tuple[Any, Any]] = {
    "a list of empty objects": ({"type": "array", "items": WIDE}, [{}] * 10_000),
    "lists of lists": ({"type": "array", "items": {"type": "array", "items": WIDE}}, [[{}] * 1_000] * 300),
    "a map of empty objects": ({"type": "object", "additionalProperties": WIDE}, {str(i): {} for i in range(50_000)}),
    "a map beside a name": (of(b={}) | {"additionalProperties": WIDE}, {str(i): {} for i in range(50_000)}),
    "the last of many alternatives": ({"type": "array", "items": CHOICES}, ["8 7 9"] * 10_000),
    "none of many alternatives": ({"type": "array", "items": CHOICES}, ["none"] * 10_000),
}


@pytest.mark.parametrize("what", MANY_MISTAKES)
def test_an_answer_of_many_mistakes_is_told_few(what: str) -> None:
    """Ten million mistakes would take 4 GB, and trying a thousand alternatives for each item a minute."""
    node, value = MANY_MISTAKES[what]
    compiled = compile_schema(of(a=node))

    def ask() -> None:
        with pytest.raises(ValidationFailed) as caught:
            compiled.validate({"a": value})
        assert caught.value.problems[0].pointer.startswith("/a/")

    assert cheapest(ask) < 8 * BUDGET
