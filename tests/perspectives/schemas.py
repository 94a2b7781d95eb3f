"""Hypothesis strategies: JSON values, schemas of draft 2020-12, and values that are not schemas."""

from typing import Any

from hypothesis import strategies as st

NAMES = st.sampled_from(["a", "b", "$ref", "type", "größe", "a/b", "~", "model_config", "__class__", "hair-color", ""])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-9, 9),
    st.floats(-2, 2),
    st.sampled_from(["", "x", "1", "true", "2024-02-29", "🦊", 10**20]),
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))
ANSWERS = st.dictionaries(NAMES, VALUES, max_size=4)

_TYPES = st.sampled_from(
    ["string", "number", "integer", "boolean", "null", "array", "object", ["string", "null"], ["array", "object"]]
)
_BOUNDS: dict[str, st.SearchStrategy[Any]] = {
    "type": _TYPES,
    "required": st.lists(NAMES, max_size=2, unique=True),
    "enum": st.lists(VALUES, min_size=1, max_size=3),
    "const": VALUES,
    "pattern": st.sampled_from(["^[a-z]+$", r"\p{L}", "x", r"^\d"]),
    "format": st.sampled_from(["date", "email", "uuid", "int32"]),
    "uniqueItems": st.booleans(),
    "multipleOf": st.sampled_from([1, 0.5]),
    "dependentRequired": st.just({"a": ["b"]}),
    "description": st.just("Look closely"),
    "default": SCALARS,
}
_BOUNDS |= dict.fromkeys(("minLength", "minItems", "minProperties", "minContains"), st.integers(0, 2))
_BOUNDS |= dict.fromkeys(("maxLength", "maxItems", "maxProperties", "maxContains"), st.integers(1, 3))
_BOUNDS |= dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), st.integers(-3, 3))
_SINGLE = (
    *("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"),
    *("unevaluatedProperties", "unevaluatedItems"),
)


@st.composite
def _nodes(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    words = draw(st.lists(st.sampled_from([*_BOUNDS, "properties", "properties", *_SINGLE]), max_size=5, unique=True))
    applicators = ["anyOf", "oneOf", "allOf", "prefixItems", "patternProperties"]
    words += draw(st.lists(st.sampled_from(applicators), max_size=1))
    node: dict[str, Any] = {}
    for word in words:
        if word in _BOUNDS:
            node[word] = draw(_BOUNDS[word])
        elif word == "properties":
            node[word] = draw(st.dictionaries(NAMES, inner, max_size=3))
        elif word == "patternProperties":
            node[word] = {draw(st.sampled_from(["^a", "."])): draw(inner)}
        else:
            node[word] = draw(inner if word in _SINGLE else st.lists(inner, min_size=1, max_size=3))
    return node


NODES = st.recursive(st.booleans() | _nodes(st.just({"$ref": "#/$defs/d"})), _nodes, max_leaves=6)


@st.composite
def schemas(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a schema with an object at its root and a definition."""
    root = draw(_nodes(NODES))
    root["properties"] = root.get("properties") or {"a": draw(NODES)}
    return {**root, "type": "object", "$defs": {"d": draw(st.booleans() | st.just({"type": "string", "minLength": 1}))}}


WORDS = st.sampled_from([*_BOUNDS, *_SINGLE, "properties", "anyOf", "$ref", "$defs", "allOf", "dependencies", "madeUp"])
ODD = st.one_of(VALUES, st.sampled_from([float("nan"), 10**400, "\ud800", "x" * 10_000, "#/$defs/a", "http://x/", "("]))
GARBAGE = st.recursive(ODD, lambda inner: st.dictionaries(WORDS, inner, max_size=5) | st.lists(inner, max_size=3))
