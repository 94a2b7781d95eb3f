"""Portable schemas, generated: every word of the subset, nested, with optional properties and open objects."""

from typing import Any

from hypothesis import strategies as st

NAMES = st.sampled_from(["caption", "tags", "title", "type", "properties", "hair-color", "schema", "required", "größe"])
SMALL = st.integers(0, 5)


@st.composite
def texts(draw: st.DrawFn) -> dict[str, Any]:
    words = {"minLength": SMALL, "maxLength": st.integers(5, 50), "pattern": st.just("^[a-z]+$")}
    words |= {"format": st.sampled_from(["date", "email", "uri", "date-time"])}
    return {"type": "string", **draw(st.fixed_dictionaries({}, optional=words))}


@st.composite
def numbers(draw: st.DrawFn) -> dict[str, Any]:
    low, high = st.integers(-9, 0), st.integers(1, 9)
    words = {"minimum": low, "exclusiveMinimum": low, "maximum": high, "exclusiveMaximum": high}
    words |= {"multipleOf": st.just(1)}
    kind = draw(st.sampled_from(["number", "integer"]))
    return {"type": kind, **draw(st.fixed_dictionaries({}, optional=words))}


CHOICES = st.one_of(
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, unique=True).map(lambda v: {"type": "string", "enum": v}),
    st.just({"enum": ["a", 1, None]}),
    st.just({"type": "number", "enum": [1, 2.5]}),
    st.sampled_from(["fixed", 3, True, None]).map(lambda value: {"const": value}),
)
LEAVES = st.one_of(texts(), numbers(), CHOICES, st.sampled_from([{"type": "boolean"}, {"type": "null"}, {}]))


def nullable(node: dict[str, Any]) -> dict[str, Any]:
    kind = node.get("type")
    return {**node, "type": [kind, "null"]} if isinstance(kind, str) and not {"enum", "const"} & node.keys() else node


def lists(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    words = {"items": inner, "minItems": SMALL, "maxItems": st.integers(5, 150), "uniqueItems": st.booleans()}
    return st.fixed_dictionaries({"type": st.just("array")}, optional=words)


def maps(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    others = st.one_of(st.just(True), inner)
    return st.fixed_dictionaries({"type": st.just("object")}, optional={"additionalProperties": others})


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    properties = draw(st.dictionaries(NAMES, inner, min_size=1, max_size=4))
    required = [name for name in properties if draw(st.booleans())]
    words = {"title": st.just("A title"), "description": st.sampled_from(["Look closely", "Done."])}
    words |= {"additionalProperties": st.just(False)}
    extra = draw(st.fixed_dictionaries({}, optional=words))
    return {"type": "object", **extra, "properties": properties, "required": required}


def nested(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    branches = st.lists(inner, min_size=1, max_size=3).map(lambda found: {"anyOf": found})
    return st.one_of(lists(inner), maps(inner), objects(inner), branches, inner.map(nullable))


SCHEMAS = objects(st.recursive(LEAVES, nested, max_leaves=8))
