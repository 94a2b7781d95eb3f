"""Each dialect by table, and over generated schemas what the servers refuse."""

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings

from perspectives import compile_schema
from providers import dialects
from tests.contract.schemas import RICH
from tests.providers.portable import SCHEMAS
from tests.servers.instances import instance
from tests.servers.schemas import gemini_fault, nodes, strict_fault, vllm_fault

Schema = dict[str, Any]
DIALECTS = (
    dialects.openai_strict,
    dialects.openai_compatible,
    dialects.llamacpp,
    dialects.ollama,
    dialects.gemini,
    dialects.relaxed,
)
KINDS = {"string", "number", "integer", "boolean", "null", "array", "object"}


def inside(translate: Callable[[Schema], Schema], node: Schema) -> Any:
    """What becomes of one required property."""
    return translate({"type": "object", "properties": {"x": node}, "required": ["x"]})["properties"]["x"]


def bounded(bound: int, count: int) -> Schema:
    tags = {"type": "array", "items": {"type": "string"}, "maxItems": bound}
    return {"type": "object", "properties": {f"x{n}": tags for n in range(count)}}


@pytest.mark.parametrize(
    ("node", "wanted"),
    [
        ({"type": "string", "maxLength": 9}, {"type": "string", "description": "Maximum length in characters: 9."}),
        (
            {"type": "string", "description": "A name", "minLength": 1},
            {"type": "string", "description": "A name. Minimum length in characters: 1."},
        ),
        ({"type": "string", "format": "uri"}, {"type": "string", "description": "Format: uri."}),
        ({"type": "string", "format": "date", "pattern": "^2"}, {"type": "string", "format": "date", "pattern": "^2"}),
        ({"type": "number", "minimum": 0, "multipleOf": 0.5}, {"type": "number", "minimum": 0, "multipleOf": 0.5}),
        ({"const": "photo", "title": "T"}, {"type": "string", "enum": ["photo"]}),
        ({"enum": [1, 2.5]}, {"type": "number", "enum": [1, 2.5]}),
        ({"enum": ["a", None]}, {"type": ["string", "null"], "enum": ["a", None]}),
        (
            {"enum": ["a", 1]},
            {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "integer", "enum": [1]}]},
        ),
        (
            {"type": "array", "uniqueItems": True, "minItems": 2},
            {
                "type": "array",
                "minItems": 2,
                "description": "No item twice.",
                "items": {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}, {"type": "null"}]},
            },
        ),
        (
            {"type": "string", "default": "day", "examples": ["day", "dusk"]},
            {"type": "string", "description": 'Usually "day". For example: "day", "dusk".'},
        ),
    ],
)
def test_openai_strict(node: Schema, wanted: Schema) -> None:
    assert inside(dialects.openai_strict, node) == wanted


def test_openai_strict_makes_optional_properties_nullable_and_required() -> None:
    """sherifkozman/the-llm-council#9"""
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "string"},
            "b": {"type": "string", "enum": ["x"]},
            "c": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            "d": {"type": ["string", "null"]},
            "e": {"const": 1},
        },
        "required": ["a"],
    }
    strict = dialects.openai_strict(schema)
    said = "Null if there is nothing to say."
    assert strict["required"] == ["a", "b", "c", "d", "e"]
    assert strict["additionalProperties"] is False
    assert strict["properties"] == {
        "a": {"type": "string"},
        "b": {"type": ["string", "null"], "enum": ["x", None], "description": said},
        "c": {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}], "description": said},
        "d": {"type": ["string", "null"]},
        "e": {"type": ["integer", "null"], "enum": [1, None], "description": said},
    }


def test_openai_strict_writes_an_open_object_as_entries() -> None:
    made = inside(dialects.openai_strict, {"type": "object", "additionalProperties": {"type": "string"}})
    assert made["type"] == "array"
    assert made["items"]["properties"] == {"key": {"type": "string"}, "value": {"type": "string"}}
    assert made["items"]["required"] == ["key", "value"]


@pytest.mark.parametrize(
    ("node", "wanted"),
    [
        (
            {"type": "array", "uniqueItems": True, "minItems": 1},
            {"type": "array", "minItems": 1, "description": "No item twice."},
        ),
        ({"type": "array", "uniqueItems": False}, {"type": "array"}),
        ({"type": "integer", "multipleOf": 3}, {"type": "integer", "description": "A multiple of 3."}),
        ({"type": "string", "pattern": "^a$"}, {"type": "string", "pattern": "^a$"}),
    ],
)
def test_openai_compatible(node: Schema, wanted: Schema) -> None:
    assert inside(dialects.openai_compatible, node) == wanted


@pytest.mark.parametrize(
    ("node", "wanted"),
    [
        ({"type": "number", "maximum": 1}, {"type": "number", "description": "Maximum: 1."}),
        ({"type": "integer", "maximum": 1}, {"type": "integer", "maximum": 1}),
        (
            {"type": "string", "pattern": "^[a-z]{2}$"},
            {"type": "string", "description": "Must match the regular expression ^[a-z]{2}$"},
        ),
        ({"type": "array", "maxItems": 8}, {"type": "array", "maxItems": 8}),
        ({"type": "array", "maxItems": 2000}, {"type": "array", "description": "Maximum number of items: 2000."}),
        ({"type": "object", "properties": {}}, {"type": "object"}),
        (
            {"type": "object", "properties": {"a": {}}, "additionalProperties": True},
            {"type": "object", "properties": {"a": {}}, "additionalProperties": True},
        ),
    ],
)
def test_llamacpp(node: Schema, wanted: Schema) -> None:
    """ggml-org/llama.cpp#25746, #27087, #25923"""
    assert inside(dialects.llamacpp, node) == wanted


@pytest.mark.parametrize(
    ("node", "wanted"),
    [
        ({"const": "photo"}, {"type": "string", "enum": ["photo"]}),
        ({"const": True}, {"type": "boolean", "description": "One of: true."}),
        ({"enum": ["a", None]}, {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]}),
        ({"type": "integer", "exclusiveMinimum": 0}, {"type": "integer", "minimum": 1}),
        (
            {"type": "number", "exclusiveMaximum": 1.5},
            {"type": "number", "maximum": 1.5, "description": "Less than 1.5."},
        ),
        ({"type": "integer", "minimum": 5, "exclusiveMinimum": 0}, {"type": "integer", "minimum": 5}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"type": "array", "maxItems": 9}, {"type": "array", "maxItems": 9}),
        (
            {"type": "array", "maxItems": 2, "items": {"type": "object"}},
            {"type": "array", "items": {"type": "object"}, "description": "Maximum number of items: 2."},
        ),
        (
            {"type": "object", "properties": {"a": {}}, "additionalProperties": False},
            {"type": "object", "properties": {"a": {}}},
        ),
    ],
)
def test_gemini(node: Schema, wanted: Schema) -> None:
    assert inside(dialects.gemini, node) == wanted


def test_gemini_keeps_array_bounds_within_a_budget() -> None:
    """googleapis/python-genai#2170: the sum counts."""
    kept = [node for _, node, _ in nodes(dialects.gemini(bounded(50, 6))) if "maxItems" in node]
    assert len(kept) == 4


def test_long_enums_become_words_before_they_are_too_many_states() -> None:
    """googleapis/python-genai#950"""
    classes = {"type": "string", "enum": [f"class {n}" for n in range(100)]}
    for translate in (dialects.gemini, dialects.relaxed):
        made = inside(translate, classes)
        assert "enum" not in made
        assert '"class 99"' in made["description"]


@given(SCHEMAS)
@settings(max_examples=150, deadline=None)
def test_every_dialect_of_a_generated_schema_is_sound(schema: Schema) -> None:
    before = deepcopy(schema)
    for translate in DIALECTS:
        made = translate(schema)
        assert schema == before
        assert list(made["properties"]) == list(schema["properties"])
        assert_well_formed(made)
        json.dumps(made)
    assert strict_fault(dialects.openai_strict(schema)) is None
    assert vllm_fault(dialects.openai_compatible(schema)) is None
    assert gemini_fault(dialects.gemini(schema)) is None
    assert gemini_fault(dialects.gemini(dialects.relaxed(schema))) is None


def assert_well_formed(schema: Schema) -> None:
    for path, node, _ in nodes(schema):
        kinds = node.get("type", [])
        assert ({kinds} if isinstance(kinds, str) else set(kinds)) <= KINDS, path
        assert set(node.get("required", [])) <= set(node.get("properties", {})), path
        assert node.get("enum", [0]), path
        assert node.get("anyOf", [0]), path
        assert isinstance(node.get("description", ""), str), path
        assert all(isinstance(child, dict) for child in node.get("properties", {}).values()), path


def test_an_answer_in_strict_form_is_restored() -> None:
    schema = compile_schema(RICH)
    strict = instance(dialects.openai_strict(schema.json_schema))
    strict["attributes"] = [{"key": "sky", "value": "red"}, {"key": "sea", "value": "calm"}]
    strict["objects"] = [{"label": "boat", "box": [0, 0, 1, 1], "note": None}]
    strict["place"] = None
    result = schema.validate(dialects.restore(strict, schema.json_schema)).value
    assert result["attributes"] == {"sky": "red", "sea": "calm"}
    assert result["objects"] == [{"label": "boat", "box": [0, 0, 1, 1]}]
    assert result["place"] is None


@pytest.mark.parametrize(
    ("schema", "value", "wanted"),
    [
        ({"type": "object", "properties": {"a": {"type": "string"}}}, {"a": None, "b": None}, {"b": None}),
        ({"type": "object", "properties": {"a": {}}}, {"a": None}, {"a": None}),
        (
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"a": None},
            {"a": None},
        ),
        ({"type": "object"}, [{"key": "a", "value": 1}, {"value": 2}, 3], {"a": 1}),
        ({"type": "object"}, {"a": 1}, {"a": 1}),
        (
            {"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": {"type": "object"}}]},
            [{"key": "a", "value": [{"key": "b", "value": 1}]}],
            {"a": {"b": 1}},
        ),
        ({"anyOf": [{"type": "object"}, {"type": "array"}]}, [{"key": "a"}], [{"key": "a"}]),
        (
            {"anyOf": [{"type": "object"}, {"type": "object", "properties": {"a": {"type": "string"}}}]},
            {"a": None},
            {},
        ),
        ({"type": "string"}, "text", "text"),
    ],
)
def test_restore(schema: Schema, value: Any, wanted: Any) -> None:
    assert dialects.restore(value, schema) == wanted


@given(SCHEMAS)
@settings(max_examples=100, deadline=None)
def test_the_least_strict_answer_restores_to_a_portable_one(schema: Schema) -> None:
    """What OpenAI's strict mode writes is an object with every required property of the portable schema."""
    restored = dialects.restore(instance(dialects.openai_strict(schema)), schema)
    assert set(schema["required"]) <= set(restored) <= set(schema["properties"])


def test_describe_names_the_format_and_holds_the_schema() -> None:
    text = dialects.describe(RICH)
    assert "JSON" in text  # OpenAI's json_object mode demands the word
    assert json.loads(text[text.index("\n") :]) == RICH
