"""Each dialect by table, and generated schemas against the rules of the servers."""

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings

from perspectives import InvalidPerspective, compile_schema
from providers import dialects
from providers.base import VisionRequest
from providers.schema_nodes import is_portable_pattern
from tests.contract.schemas import RICH
from tests.perspectives.schemas import VALUES, schemas
from tests.servers.instances import instance
from tests.servers.schemas import anthropic_fault, gemini_fault, nodes, strict_fault, vllm_fault

Schema = dict[str, Any]
DIALECTS = (
    dialects.openai_strict,
    dialects.openai_compatible,
    dialects.vllm,
    dialects.llamacpp,
    dialects.llamacpp,
    dialects.gemini,
    dialects.anthropic,
    dialects.relaxed,
)
SCALAR = {"type": ["string", "number", "boolean", "null"]}
KINDS = {"string", "number", "integer", "boolean", "null", "array", "object"}


def inside(translate: Callable[[Schema], Schema], node: Schema) -> Any:
    """Translate one required property."""
    return translate({"type": "object", "properties": {"x": node}, "required": ["x"]})["properties"]["x"]


def bounded(bound: int, count: int) -> Schema:
    tags = {"type": "array", "items": {"type": "string"}, "maxItems": bound}
    return {"type": "object", "properties": {f"x{n}": tags for n in range(count)}}


@pytest.mark.parametrize(
    ("node", "expected"),
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
def test_openai_strict(node: Schema, expected: Schema) -> None:
    assert inside(dialects.openai_strict, node) == expected


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
    result = inside(dialects.openai_strict, {"type": "object", "additionalProperties": {"type": "string"}})
    assert result["type"] == "array"
    assert result["items"]["properties"] == {"key": {"type": "string"}, "value": {"type": "string"}}
    assert result["items"]["required"] == ["key", "value"]


@pytest.mark.parametrize(
    ("node", "expected"),
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
def test_openai_compatible(node: Schema, expected: Schema) -> None:
    assert inside(dialects.openai_compatible, node) == expected


@pytest.mark.parametrize(
    ("node", "expected"),
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
def test_llamacpp(node: Schema, expected: Schema) -> None:
    """ggml-org/llama.cpp#25746, #27087, #25923"""
    assert inside(dialects.llamacpp, node) == expected


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({"const": "photo"}, {"type": "string", "enum": ["photo"]}),
        ({"const": True}, {"type": "boolean", "description": "One of: true."}),
        ({"enum": ["a", None]}, {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]}),
        ({"type": "integer", "exclusiveMinimum": 0}, {"type": "integer", "minimum": 1}),
        ({"type": "number", "exclusiveMaximum": 1.5}, {"type": "number", "description": "Less than 1.5."}),
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
def test_gemini(node: Schema, expected: Schema) -> None:
    assert inside(dialects.gemini, node) == expected


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({"type": "string", "minLength": 1}, {"type": "string", "description": "Minimum length in characters: 1."}),
        ({"type": "integer", "maximum": 9}, {"type": "integer", "description": "Maximum: 9."}),
        ({"type": "string", "format": "uri"}, {"type": "string", "format": "uri"}),
        ({"type": "string", "format": "regex"}, {"type": "string", "description": "Format: regex."}),
        ({"type": "string", "pattern": "^[a-z]+$"}, {"type": "string", "pattern": "^[a-z]+$"}),
        ({"const": "photo", "title": "T"}, {"type": "string", "enum": ["photo"]}),
        ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
        ({"enum": [[1], [2]]}, {"type": "array", "description": "One of: [1], [2].", "items": SCALAR}),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 3},
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "description": "Maximum number of items: 3."},
        ),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 2},
            {"type": "array", "items": {"type": "string"}, "description": "Minimum number of items: 2."},
        ),
    ],
)
def test_anthropic(node: Schema, expected: Schema) -> None:
    assert inside(dialects.anthropic, node) == expected


def test_anthropic_closes_objects_and_keeps_optional_properties() -> None:
    """Nullable ones count as unions, of which a schema may have 16; of optional properties it may have 24."""
    inner = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["a"]}
    closed = {**inner, "additionalProperties": False}
    assert inside(dialects.anthropic, inner) == closed
    assert inside(dialects.anthropic, {**inner, "additionalProperties": {"type": "string"}}) == closed
    entries = inside(dialects.anthropic, {"type": "object", "additionalProperties": {"type": "string"}})
    assert entries["items"]["properties"] == {"key": {"type": "string"}, "value": {"type": "string"}}
    assert entries["items"]["additionalProperties"] is False


def test_gemini_keeps_array_bounds_within_a_budget() -> None:
    """googleapis/python-genai#2170: the sum counts."""
    kept = [node for _, node, _ in nodes(dialects.gemini(bounded(50, 6))) if "maxItems" in node]
    assert len(kept) == 4


def test_long_enums_become_words_before_they_are_too_many_states() -> None:
    """googleapis/python-genai#950"""
    classes = {"type": "string", "enum": [f"class {n}" for n in range(100)]}
    for translate in (dialects.gemini, dialects.relaxed):
        result = inside(translate, classes)
        assert "enum" not in result
        assert '"class 99"' in result["description"]


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (
            {"type": "array", "uniqueItems": True, "minItems": 1},
            {"type": "array", "minItems": 1, "description": "No item twice."},
        ),
        (
            {"type": "string", "minLength": 1, "format": "uuid", "pattern": "^a$"},
            {"type": "string", "minLength": 1, "format": "uuid", "pattern": "^a$"},
        ),
        ({"type": "number", "multipleOf": 0.5}, {"type": "number", "multipleOf": 0.5}),
        ({"type": "string", "format": "email"}, {"type": "string", "description": "Format: email."}),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        (
            {
                "allOf": [
                    {"type": "object", "properties": {"p": {}}, "required": ["p"]},
                    {"properties": {"q": {}}, "minProperties": 1},
                ]
            },
            {
                "type": "object",
                "properties": {"p": {}, "q": {}},
                "required": ["p"],
                "description": "Minimum number of properties: 1.",
                "additionalProperties": False,
            },
        ),
        (
            {"type": "string", "allOf": [{"type": "string", "maxLength": 3}], "minLength": 1},
            {"type": "string", "minLength": 1, "maxLength": 3},
        ),
        (
            {"minLength": 1, "allOf": [{"minLength": 2}]},
            {"minLength": 1, "description": 'Must also match this JSON Schema: {"allOf": [{"minLength": 2}]}'},
        ),
        (
            {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False},
            {
                "maxItems": 2,
                "type": "array",
                "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                "description": "Must also match this JSON Schema: "
                '{"prefixItems": [{"type": "string"}, {"type": "integer"}]}',
            },
        ),
        (
            {"type": "object", "properties": {"p": {}}, "patternProperties": {"^x": {}}, "additionalProperties": False},
            {
                "type": "object",
                "properties": {"p": {}},
                "additionalProperties": True,
                "description": 'Must also match this JSON Schema: {"patternProperties": {"^x": {}}}',
            },
        ),
        (
            {"type": "object", "properties": {"p": {}}, "anyOf": [{"required": ["p"]}]},
            {
                "type": "object",
                "properties": {"p": {}},
                "description": 'Must also match this JSON Schema: {"allOf": [{"anyOf": [{"required": ["p"]}]}]}',
                "additionalProperties": False,
            },
        ),
        ({"not": {"const": "x" * 5_000}}, {"description": "More rules apply."}),
    ],
)
def test_vllm(node: Schema, expected: Schema) -> None:
    assert inside(dialects.vllm, node) == expected


@pytest.mark.parametrize(
    "pattern",
    [
        *("^a$", "^[a-z]{2}$", r"^\d+(-|x)?\.$", "(?:ab|c)*", "[^a\\]]", "ä{2,}", "", r"[\w\s.-]", "a|b", r"\S"),
    ],
)
def test_portable_pattern_is_sent(pattern: str) -> None:
    node = {"type": "string", "pattern": pattern}
    assert is_portable_pattern(pattern)
    assert inside(dialects.vllm, node) == inside(dialects.openai_strict, node) == node


@pytest.mark.parametrize(
    "pattern",
    [
        *("[[:alpha:]]", r"\A[a-z]+\z", "[a-z&&[^aeiou]]", r"\x{41}", r"\x41", r"\bword\b", "(?i)abc", r"^\p{L}{3,8}$"),
        *(r"[\p{L} ]+", "a+?", "a{,3}", "(?P<n>a)", "(?=a)", r"(a)\1", "[a--b]", r"\u0041", "a++"),
    ],
)
def test_other_pattern_is_described(pattern: str) -> None:
    node = {"type": "string", "pattern": pattern}
    expected = {"type": "string", "description": f"Must match the regular expression {pattern}"}
    for translate in DIALECTS:
        assert inside(translate, node) == expected


def test_results_are_cached_and_the_schema_is_untouched() -> None:
    schema = {"type": "object", "properties": {"a": {"const": 1}}}
    before = deepcopy(schema)
    assert dialects.gemini(schema) is dialects.gemini(deepcopy(schema))
    assert schema == before


@given(schemas())
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_dialect_of_a_generated_schema_is_sound(schema: Schema) -> None:
    schema = accepted(schema)
    before = deepcopy(schema)
    for translate in DIALECTS:
        result = translate(schema)
        assert schema == before
        assert set(schema["properties"]) <= set(result["properties"])
        assert_well_formed(result)
    if not {"anyOf", "oneOf", "allOf"} & schema.keys():
        assert strict_fault(dialects.openai_strict(schema)) is None
        assert "too many" in (anthropic_fault(dialects.anthropic(schema)) or "too many")
    assert vllm_fault(dialects.vllm(schema)) is None
    assert vllm_fault(dialects.openai_compatible(schema)) is None
    assert gemini_fault(dialects.gemini(schema)) is None
    assert gemini_fault(dialects.gemini(dialects.relaxed(schema))) is None


def accepted(schema: Schema) -> Schema:
    try:
        return compile_schema(schema).json_schema
    except InvalidPerspective:
        assume(False)
        raise


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
    ("schema", "value", "expected"),
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
def test_restore(schema: Schema, value: Any, expected: Any) -> None:
    assert dialects.restore(value, schema) == expected


@given(schemas(), VALUES)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_strict_answer_is_restored_and_no_other_value_crashes(schema: Schema, value: Any) -> None:
    schema = accepted(schema)
    json.dumps(dialects.restore(instance(dialects.openai_strict(schema)), schema))
    json.dumps(dialects.restore(value, schema))


def test_the_prompt_names_the_format_and_holds_the_schema() -> None:
    text = dialects.prompt(VisionRequest("m", "Look.", 5, schema=RICH)).removeprefix("Look.\n\n")
    assert "JSON" in text  # OpenAI's json_object mode demands the word
    assert json.loads(text[text.index("\n") :]) == RICH
