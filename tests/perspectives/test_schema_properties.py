"""Generated schemas compile; answers generated for them are taken and what they forbid is refused."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perspectives import InvalidPerspective, ValidationFailed, compile_schema, parse

BOUNDED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NAMES = st.one_of(
    st.sampled_from(["model_config", "schema", "json", "__class__", "_x", "hair-color", "f0", "root", "a/b", "~"]),
    st.text(min_size=1, max_size=6).filter(lambda name: "\x00" not in name),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-99, 99), st.text(max_size=5))
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2))
Case = tuple[dict[str, Any], Any, Any]
"""A schema, a value that it takes, and a value that it forbids."""


@st.composite
def texts(draw: st.DrawFn) -> Case:
    low = draw(st.integers(0, 3))
    high = low + draw(st.integers(0, 4))
    right = draw(st.text(min_size=low, max_size=high))
    wrong = draw(st.sampled_from([1, None, True, [], "x" * (high + 1), *(["x" * (low - 1)] if low else [])]))
    return {"type": "string", "minLength": low, "maxLength": high}, right, wrong


@st.composite
def numbers(draw: st.DrawFn) -> Case:
    low = draw(st.integers(-50, 50))
    high = low + draw(st.integers(1, 50))
    whole = draw(st.booleans())
    right = draw(st.integers(low, high) if whole else st.floats(low, high))
    wrong = draw(st.sampled_from([low - 1, high + 0.5, True, None, "many", {}, float("nan"), *([low + 0.5] * whole)]))
    return {"type": "integer" if whole else "number", "minimum": low, "maximum": high}, right, wrong


@st.composite
def choices(draw: st.DrawFn) -> Case:
    values = draw(st.lists(st.text(max_size=4), min_size=1, max_size=4, unique=True))
    word = draw(st.sampled_from(["enum", "const"]))
    taken = values if word == "enum" else values[:1]
    node = {"enum": values} if word == "enum" else {"const": values[0]}
    return node, draw(st.sampled_from(taken)), draw(st.sampled_from(["absent", 0, None, taken]))


@st.composite
def flags(draw: st.DrawFn) -> Case:
    return {"type": "boolean"}, draw(st.booleans()), draw(st.sampled_from([0, 1, "yes", None, []]))


LEAVES = st.one_of(texts(), numbers(), choices(), flags())


@st.composite
def lists(draw: st.DrawFn, inner: st.SearchStrategy[Case]) -> Case:
    node, right, wrong = draw(inner)
    count = draw(st.integers(1, 3))
    wrongs: list[Any] = [[], [right] * (count + 1), [*[right] * (count - 1), wrong], {}, "x", None]
    taken = [right] * draw(st.integers(1, count))
    return {"type": "array", "items": node, "minItems": 1, "maxItems": count}, taken, draw(st.sampled_from(wrongs))


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Case]) -> Case:
    parts = draw(st.dictionaries(NAMES, inner, min_size=1, max_size=4))
    required = sorted(draw(st.sets(st.sampled_from(sorted(parts)), min_size=1)))
    others = draw(st.sampled_from([None, False, {"type": "integer"}]))
    node: dict[str, Any] = {
        "type": "object",
        "properties": {name: part for name, (part, _, _) in parts.items()},
        "required": required,
    }
    if others is not None:
        node["additionalProperties"] = others
    left_out = draw(st.sets(st.sampled_from(sorted(parts)))) - set(required)
    right = {name: value for name, (_, value, _) in parts.items() if name not in left_out}
    victim = draw(st.sampled_from(required))
    wrongs: list[Any] = [
        {**right, victim: parts[victim][2]},
        {name: value for name, value in right.items() if name != victim},
        [right],
        None,
    ]
    if others is not None and "new one" not in parts:
        wrongs.append({**right, "new one": "text"})
    return node, right, draw(st.sampled_from(wrongs))


@st.composite
def nullable(draw: st.DrawFn, inner: st.SearchStrategy[Case]) -> Case:
    node, right, wrong = draw(inner)
    taken = draw(st.sampled_from([right, None]))
    return {"anyOf": [node, {"type": "null"}]}, taken, object() if wrong is None else wrong


CASES = st.recursive(LEAVES, lambda inner: st.one_of(lists(inner), objects(inner), nullable(inner)), max_leaves=8)


@BOUNDED
@given(objects(CASES))
def test_answers_made_for_a_schema_fit_and_what_it_forbids_does_not(case: Case) -> None:
    schema, right, wrong = case
    compiled = compile_schema(schema)
    assert compiled.validate(right) == right
    assert compiled.dump(compiled.model.model_validate_json(json.dumps(right))) == right
    with pytest.raises(ValidationFailed) as caught:
        compiled.validate(wrong)
    assert caught.value.problems
    assert all(one.message.endswith(".") for one in caught.value.problems)


@BOUNDED
@given(objects(CASES))
def test_a_generated_perspective_comes_back_from_the_wire(case: Case) -> None:
    one = parse({"prompt": "p", "json_schema": case[0]})
    again = parse(json.loads(json.dumps(one.to_wire())))
    assert again.digest == one.digest
    assert again.schema_fields == one.schema_fields
    assert json.dumps(again.json_schema) == json.dumps(one.json_schema)
    assert again.warnings == ()


@BOUNDED
@given(objects(CASES), VALUES)
def test_any_value_is_taken_or_refused_and_what_is_taken_is_taken_again(case: Case, value: Any) -> None:
    compiled = compile_schema(case[0])
    try:
        kept = compiled.validate(value)
    except ValidationFailed:
        return
    assert compiled.validate(kept) == kept


FIELDS = st.recursive(
    st.fixed_dictionaries({"type": st.sampled_from(["str", "int", "float", "bool", "dict", "colour", None])}),
    lambda inner: st.fixed_dictionaries(
        {"fields": st.dictionaries(NAMES, inner, min_size=1, max_size=3), "type": st.sampled_from(["str", "dict"])}
    ),
    max_leaves=6,
)


def written(name: str, field: dict[str, Any], odd: bool) -> dict[str, Any]:
    made = {"name": name, "type": field["type"], "is_list": odd}
    if not odd:
        made["description"] = f"About {name}."
    if "fields" in field:
        made["fields"] = [written(inner, one, not odd) for inner, one in field["fields"].items()]
    return made


@BOUNDED
@given(st.dictionaries(NAMES, FIELDS, min_size=1, max_size=3), st.booleans())
def test_generated_graphcap_fields_load_and_come_back_from_the_wire(fields: dict[str, Any], odd: bool) -> None:
    one = parse({"prompt": "p", "schema_fields": [written(name, field, odd) for name, field in fields.items()]})
    assert list(one.json_schema["properties"]) == list(fields)
    again = parse(json.loads(json.dumps(one.to_wire())))
    assert again.digest == one.digest


@BOUNDED
@given(
    st.recursive(
        VALUES,
        lambda inner: st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "properties",
                    "items",
                    "anyOf",
                    "enum",
                    "required",
                    "$ref",
                    "allOf",
                    "pattern",
                    "minimum",
                    "format",
                ]
            ),
            inner | st.sampled_from(["object", "string", "array"]),
            max_size=5,
        ),
        max_leaves=12,
    )
)
def test_garbage_is_refused_and_never_crashes(garbage: Any) -> None:
    for data in (garbage, {"prompt": "p", "json_schema": garbage}, {"prompt": "p", "schema_fields": garbage}):
        with suppress(InvalidPerspective):
            parse(data)
