"""Whatever is sent as a perspective is refused as one or taken; whatever is answered fits or does not."""

import json
import string
from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.captioning.parsing import read
from perspectives import PerspectiveError, ValidationFailed, parse
from perspectives.errors import Problem
from perspectives.keywords import KEYWORDS, TYPES
from perspectives.schema import CompiledSchema

BOUNDED = settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
NAMES = st.one_of(
    st.sampled_from(["a", "b", "__class__", "__init__", "model_config", "schema", "json", "copy", "constructor"]),
    st.sampled_from(["__proto__", "", " ", "\x00", "\u202ea", "x" * 10_000, "\ud800", "~", "a/b", "$ref", "💥"]),
    st.text(max_size=4),
)
NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([10**400, -(10**400), 1e308, 5e-324, 2**63, True, -0.0]),
)
SCALARS = st.one_of(st.none(), NUMBERS, NAMES, st.sampled_from([*TYPES, "#", "#/$defs/a", "http://x/", "^(a+)+$", "("]))
WORDS = st.one_of(st.sampled_from([*KEYWORDS, "$dynamicRef", "contains", "if", "not"]), NAMES)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(NAMES, inner, max_size=4),
        st.dictionaries(WORDS, inner, max_size=5),
    ),
    max_leaves=25,
)
LEAVES = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES)},
    optional={
        "enum": st.lists(SCALARS, max_size=3),
        "pattern": st.sampled_from(["^a", "(b|c)+$", ".{3}"]),
        "minLength": st.integers(0, 3),
        "minimum": NUMBERS,
        "multipleOf": NUMBERS,
        "uniqueItems": st.booleans(),
        "format": st.sampled_from(["date", "email", "uri", "odd"]),
    },
)
NODES = st.recursive(
    LEAVES | st.just({}),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}, optional={"maxItems": st.integers(0, 3)}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.dictionaries(NAMES, inner, max_size=3)},
            optional={"additionalProperties": st.booleans() | inner},
        ),
    ),
    max_leaves=8,
)
SCHEMAS = st.fixed_dictionaries(
    {"type": st.just("object"), "properties": st.dictionaries(NAMES, NODES, min_size=1, max_size=3)},
    optional={"required": st.lists(NAMES, max_size=2), "additionalProperties": st.booleans() | NODES},
)
TEXTS = st.text(st.sampled_from('{}[]",:\\`\n 0159eE.-+u\ud83d\x00' + string.ascii_letters), max_size=60)


def compiled(schema: object) -> CompiledSchema | None:
    """The compiled schema of a perspective that is taken; None for one that is refused, with its reasons."""
    try:
        return parse({"prompt": "p", "json_schema": schema}).compiled
    except PerspectiveError as error:
        told(getattr(error, "problems", ()))
        return None


def told(problems: tuple[Problem, ...]) -> None:
    assert problems
    assert all(one.message.strip() and len(one.message) < 2_000 for one in problems)
    assert all(one.pointer == "" or one.pointer.startswith("/") for one in problems)


@BOUNDED
@given(ANYTHING)
def test_anything_as_a_perspective(value: Any) -> None:
    for data in (
        value,
        {"prompt": "p", "schema_fields": value},
        {"prompt": value, "variables": value, "schema": value},
    ):
        with suppress(PerspectiveError):
            parse(data)
    compiled(value)


@BOUNDED
@given(SCHEMAS, st.lists(ANYTHING, min_size=3, max_size=3))
def test_anything_as_an_answer(schema: Any, answers: list[Any]) -> None:
    taken = compiled(schema)
    if taken is None:
        return
    for answer in (*answers, *(dict.fromkeys(schema["properties"], one) for one in answers)):
        try:
            kept = taken.validate(answer)
        except ValidationFailed as misfit:
            told(misfit.problems)
            continue
        json.dumps(kept, allow_nan=False).encode()
        assert taken.validate(kept) == kept


@BOUNDED
@given(SCHEMAS, TEXTS, ANYTHING)
def test_any_text_as_an_answer(schema: Any, text: str, value: Any) -> None:
    taken = compiled(schema)
    if taken is None:
        return
    for answer in (text, f"{text} {json.dumps(value)}", f"```{json.dumps(value)}```{text}"):
        with suppress(ValidationFailed):
            json.dumps(read(answer, taken).result, ensure_ascii=False, allow_nan=False).encode()
