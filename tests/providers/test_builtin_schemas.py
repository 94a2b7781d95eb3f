"""Any schema, filled by the builtin provider, takes what was written into it."""

from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from perspectives.formats import FORMATS

from perspectives import InvalidPerspective, compile_schema
from providers.errors import RequestRejected
from providers.writing.patterns import Unwritable, example, matches
from providers.writing.variants import distinct
from tests.providers.measured import CLIENT, IMAGES, JsonObject, fill, one, request


@pytest.mark.parametrize("pattern", ["^(?=a)b$", "^[^\\s\\S]$", "\\p{Han}{3}", "^x$|("])
async def test_a_pattern_that_cannot_be_met_is_refused_by_name(pattern: str) -> None:
    schema = {"type": "object", "properties": {"code": {"type": "string", "pattern": pattern}}, "required": ["code"]}
    with pytest.raises(RequestRejected) as caught:
        await CLIENT.complete(request(schema))
    assert "'/code'" in caught.value.message


PATTERNS = (
    "^[a-z_]+$",
    "^#[0-9A-F]{6}$",
    "^\\d{4}-\\d{2}-\\d{2}$",
    "^(left|right)$",
    "^[A-Z]{2,3}-\\d+$",
    "^(?:[a-z]+, )*[a-z]+$",
    "^\\S+@\\S+\\.[a-z]{2,}$",
    "^[^a-z ]{3}$",
    "colou?r",
    "^.{10,12}$",
    "^$",
    "(?i)^ISO \\w+$",
    "^(a+)+$",
    "^\\[\\d, \\d\\]$",
)


@pytest.mark.parametrize("pattern", PATTERNS)
async def test_patterns_are_met(pattern: str) -> None:
    assert matches(pattern, await one({"type": "string", "pattern": pattern}, "code"))
    repeated = await one({"type": "array", "items": {"type": "string", "pattern": pattern}, "minItems": 2}, "codes")
    assert len(repeated) == 2


@pytest.mark.parametrize("pattern", PATTERNS)
def test_an_example_of_a_pattern_matches_it(pattern: str) -> None:
    made = []
    for repeats in (1, 2, 8):
        made.append(example(pattern, repeats))
    assert any(matches(pattern, one) for one in made)


@given(st.text(alphabet="ab[](){}|?*+.^$\\dw-,0189", max_size=14))
@settings(max_examples=150, deadline=None)
def test_any_pattern_is_read_or_left(pattern: str) -> None:
    try:
        made = example(pattern, 2)
    except Unwritable:
        return
    assert isinstance(made, str)


WORDS = (
    *("caption", "title", "colours", "palette", "tags", "objects", "box", "light", "mood", "camera", "motion", "text"),
    *("people", "count", "confidence", "score", "id", "label", "beat_2", "description", "hex", "width", "is_safe"),
    *("rating", "when", "where", "story", "x", "y", "anything"),
)
NAMES = st.sampled_from(WORDS)
BOUNDS = st.integers(-40, 40)


@st.composite
def strings(draw: st.DrawFn) -> JsonObject:
    low = draw(st.integers(0, 30))
    node: JsonObject = draw(
        st.sampled_from(
            [
                {"type": "string"},
                {"type": "string", "minLength": low},
                {"type": "string", "maxLength": low},
                {"type": "string", "minLength": low, "maxLength": low + 3},
                {"type": ["string", "null"], "maxLength": 40},
            ]
        )
    )
    if draw(st.integers(0, 5)) == 0:
        node = {"type": "string", "pattern": draw(st.sampled_from(PATTERNS))}
    elif draw(st.integers(0, 5)) == 0:
        node = {"type": "string", "format": draw(st.sampled_from(sorted(FORMATS)))}
    return node


@st.composite
def numbers(draw: st.DrawFn) -> JsonObject:
    low, span = draw(BOUNDS), draw(st.integers(3, 60))
    kind = draw(st.sampled_from(["integer", "number"]))
    words: JsonObject = draw(
        st.sampled_from(
            [
                {},
                {"minimum": low},
                {"maximum": low},
                {"exclusiveMinimum": low, "exclusiveMaximum": low + span},
                {"minimum": low, "maximum": low + span, "multipleOf": draw(st.sampled_from([1, 3, 0.5, 0.1, 0.25]))},
                {"exclusiveMinimum": low + 0.25, "multipleOf": 7},
            ]
        )
    )
    return {"type": kind, **words}


LEAVES = st.one_of(
    strings(),
    numbers(),
    st.just({"type": "boolean"}),
    st.just({}),
    st.just({"type": "object"}),
    st.lists(st.text(max_size=4), min_size=1, max_size=4, unique=True).map(lambda values: {"enum": values}),
    st.sampled_from([{"const": 3}, {"const": None}, {"enum": [1, 2.5, 7]}, {"enum": [None, True]}]),
)


def lists(inner: st.SearchStrategy[JsonObject]) -> st.SearchStrategy[JsonObject]:
    return st.builds(
        lambda items, low, span: {"type": "array", "items": items, "minItems": low, "maxItems": low + span},
        inner,
        st.integers(0, 4),
        st.integers(0, 3),
    )


def objects(inner: st.SearchStrategy[JsonObject]) -> st.SearchStrategy[JsonObject]:
    def build(properties: JsonObject, left_out: set[str], others: Any) -> JsonObject:
        node = {"type": "object", "properties": properties, "required": sorted(set(properties) - left_out)}
        return node if others is None else {**node, "additionalProperties": others}

    properties = st.dictionaries(NAMES, inner, min_size=1, max_size=5)
    return st.builds(
        build, properties, st.sets(NAMES, max_size=6), st.sampled_from([None, True, False, {"type": "string"}])
    )


def unions(inner: st.SearchStrategy[JsonObject]) -> st.SearchStrategy[JsonObject]:
    return st.lists(inner | st.just({"type": "null"}), min_size=1, max_size=3).map(lambda branches: {"anyOf": branches})


NODES = st.recursive(LEAVES, lambda inner: st.one_of(lists(inner), objects(inner), unions(inner)), max_leaves=10)
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@QUICK
@given(objects(NODES), st.sampled_from(sorted(IMAGES)), st.integers(0, 3))
def test_any_schema_is_filled_validly(schema: JsonObject, key: str, seed: int) -> None:
    try:
        compiled = compile_schema(schema)
    except InvalidPerspective:
        return
    value = fill(compiled.json_schema, key, seed)
    assert compiled.validate(value) == value
    assert fill(compiled.json_schema, key, seed) == value


@QUICK
@given(NODES, st.integers(0, 5), st.sampled_from(sorted(IMAGES)))
def test_distinct_items_are_distinct_or_refused(inner: JsonObject, least: int, key: str) -> None:
    many = {"type": "array", "items": inner, "minItems": least, "uniqueItems": True}
    try:
        compiled = compile_schema({"type": "object", "properties": {"tags": many}, "required": ["tags"]})
    except InvalidPerspective:
        return
    try:
        value = fill(compiled.json_schema, key)
    except RequestRejected as refused:
        event(refused.message)
        return
    assert compiled.validate(value) == value


@pytest.mark.parametrize(
    "inner",
    [
        {"type": "string", "maxLength": 6},
        {"type": "integer", "minimum": 1, "maximum": 40},
        {"type": "number", "minimum": 0, "maximum": 1},
        {"type": "object", "properties": {"tag": {"type": "string"}}, "required": ["tag"]},
        {"enum": list(range(50))},
        {"type": ["string", "null"]},
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
    ],
)
async def test_distinct_items_are_found(inner: JsonObject) -> None:
    assert len(await one({"type": "array", "items": inner, "minItems": 40, "uniqueItems": True}, "things")) >= 40


def test_values_are_the_same_as_json_has_it() -> None:
    assert distinct([1, 1.0, True, "1", [1], [1.0], {"a": 1, "b": 2}, {"b": 2, "a": 1}]) == [
        1,
        True,
        "1",
        [1],
        {"a": 1, "b": 2},
    ]


async def test_too_few_distinct_items_are_refused_by_name() -> None:
    schema = {"type": "array", "items": {"type": "boolean"}, "minItems": 3, "uniqueItems": True}
    with pytest.raises(RequestRejected, match="'/flags'"):
        await one(schema, "flags")
