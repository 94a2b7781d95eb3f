"""Schema dialects: a table per dialect, and generated schemas checked by the rules of the test servers."""

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
    dialects.gemini,
    dialects.anthropic,
    dialects.relaxed,
)
SCALAR = {"type": ["string", "number", "boolean", "null"]}
KINDS = {"string", "number", "integer", "boolean", "null", "array", "object"}


def inside(translate: Callable[[Schema], Schema], node: Schema) -> Any:
    """Translate one required property."""
    return translate({"type": "object", "properties": {"x": node}, "required": ["x"]})["properties"]["x"]


TEXT, NUMBER, INTEGER, LIST = ({"type": word} for word in ("string", "number", "integer", "array"))
ANY = [{"type": "string"}, {"type": "number"}, {"type": "boolean"}, {"type": "null"}]
P = {"type": "object", "properties": {"p": {}}}
SAME: Any = "the same"  # the server enforces it
ALSO = "Must also match this JSON Schema: "


def words(node: Schema, text: str) -> Schema:
    """Return the schema with the rule in its description."""
    return {**node, "description": text}


ROWS: list[tuple[Callable[[Schema], Schema], Schema, Schema]] = [
    (dialects.openai_strict, {**TEXT, "maxLength": 9}, words(TEXT, "Maximum length in characters: 9.")),
    (dialects.openai_strict, {**TEXT, "format": "uri"}, words(TEXT, "Format: uri.")),
    (dialects.openai_strict, {**TEXT, "format": "date", "pattern": "^2"}, SAME),
    (dialects.openai_strict, {**NUMBER, "minimum": 0, "multipleOf": 0.5}, SAME),
    (dialects.openai_strict, {"const": "photo", "title": "T"}, {**TEXT, "enum": ["photo"]}),
    (dialects.openai_strict, {"enum": ["a", 1]}, {"anyOf": [{**TEXT, "enum": ["a"]}, {**INTEGER, "enum": [1]}]}),
    (
        dialects.openai_strict,
        {**LIST, "uniqueItems": True, "minItems": 2},
        {**words(LIST, "No item twice."), "minItems": 2, "items": {"anyOf": ANY}},
    ),
    (
        dialects.openai_strict,
        {**TEXT, "default": "day", "examples": ["day", "dusk"]},
        words(TEXT, 'Usually "day". For example: "day", "dusk".'),
    ),
    (dialects.openai_compatible, {**LIST, "uniqueItems": True}, words(LIST, "No item twice.")),
    (dialects.openai_compatible, {**INTEGER, "multipleOf": 3}, words(INTEGER, "A multiple of 3.")),
    # ggml-org/llama.cpp#25746, #27087, #25923
    (dialects.llamacpp, {**NUMBER, "maximum": 1}, words(NUMBER, "Maximum: 1.")),
    (dialects.llamacpp, {**INTEGER, "maximum": 1}, SAME),
    (dialects.llamacpp, {**TEXT, "pattern": "^[a-z]{2}$"}, words(TEXT, "Must match the regular expression ^[a-z]{2}$")),
    (dialects.llamacpp, {**LIST, "maxItems": 8}, SAME),
    (dialects.llamacpp, {**LIST, "maxItems": 2000}, words(LIST, "Maximum number of items: 2000.")),
    (dialects.llamacpp, {"type": "object", "properties": {}}, {"type": "object"}),
    (dialects.gemini, {"const": "photo"}, {**TEXT, "enum": ["photo"]}),
    (dialects.gemini, {"const": True}, words({"type": "boolean"}, "One of: true.")),
    (dialects.gemini, {"enum": ["a", None]}, {"anyOf": [{**TEXT, "enum": ["a"]}, {"type": "null"}]}),
    (dialects.gemini, {**NUMBER, "exclusiveMaximum": 1.5}, words(NUMBER, "Less than 1.5.")),
    (dialects.gemini, {**P, "additionalProperties": False}, P),
    (dialects.anthropic, {**INTEGER, "maximum": 9}, words(INTEGER, "Maximum: 9.")),
    (dialects.anthropic, {**TEXT, "format": "uri"}, SAME),
    (dialects.anthropic, {**TEXT, "format": "regex"}, words(TEXT, "Format: regex.")),
    (dialects.anthropic, {"type": ["string", "null"]}, SAME),
    (dialects.anthropic, {"enum": [[1], [2]]}, {**words(LIST, "One of: [1], [2]."), "items": SCALAR}),
    (
        dialects.anthropic,
        {**LIST, "items": TEXT, "minItems": 1, "maxItems": 3},
        {**words(LIST, "Maximum number of items: 3."), "items": TEXT, "minItems": 1},
    ),
    (dialects.vllm, {**LIST, "uniqueItems": True, "minItems": 1}, {**words(LIST, "No item twice."), "minItems": 1}),
    (dialects.vllm, {**TEXT, "minLength": 1, "format": "uuid", "pattern": "^a$"}, SAME),
    (dialects.vllm, {**TEXT, "format": "email"}, words(TEXT, "Format: email.")),
    (dialects.vllm, {"oneOf": [TEXT, {"type": "null"}]}, {"anyOf": [TEXT, {"type": "null"}]}),
    (
        dialects.vllm,
        {"allOf": [{**P, "required": ["p"]}, {"properties": {"q": {}}, "minProperties": 1}]},
        {
            **words(P, "Minimum number of properties: 1."),
            "properties": {"p": {}, "q": {}},
            "required": ["p"],
            "additionalProperties": False,
        },
    ),
    (
        dialects.vllm,
        {**TEXT, "allOf": [{**TEXT, "maxLength": 3}], "minLength": 1},
        {**TEXT, "minLength": 1, "maxLength": 3},
    ),
    (
        dialects.vllm,
        {"minLength": 1, "allOf": [{"minLength": 2}]},
        words({"minLength": 1}, ALSO + '{"allOf": [{"minLength": 2}]}'),
    ),
    (
        dialects.vllm,
        {**LIST, "prefixItems": [TEXT, INTEGER], "items": False},
        {
            **words(LIST, ALSO + '{"prefixItems": [{"type": "string"}, {"type": "integer"}]}'),
            "maxItems": 2,
            "items": {"anyOf": [TEXT, INTEGER]},
        },
    ),
    (
        dialects.vllm,
        {**P, "patternProperties": {"^x": {}}, "additionalProperties": False},
        {**words(P, ALSO + '{"patternProperties": {"^x": {}}}'), "additionalProperties": True},
    ),
    (dialects.vllm, {"not": {"const": "x" * 5_000}}, {"description": "More rules apply."}),
]


@pytest.mark.parametrize(("translate", "node", "expected"), ROWS)
def test_enforced_keywords_are_sent_and_others_described(
    translate: Callable[[Schema], Schema], node: Schema, expected: Schema
) -> None:
    assert inside(translate, node) == (node if expected == SAME else expected)


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
            "f": {"type": ["string", "null"], "enum": ["x"]},
        },
        "required": ["a"],
    }
    strict = dialects.openai_strict(schema)
    said = "Null if there is nothing to say."
    assert strict["required"] == ["a", "b", "c", "d", "e", "f"]
    assert strict["additionalProperties"] is False
    assert strict["properties"] == {
        "a": {"type": "string"},
        "b": {"type": ["string", "null"], "enum": ["x", None], "description": said},
        "c": {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}], "description": said},
        "d": {"type": ["string", "null"]},
        "e": {"type": ["integer", "null"], "enum": [1, None], "description": said},
        "f": {"type": ["string", "null"], "enum": ["x", None], "description": said},
    }


def test_anthropic_closes_objects_and_keeps_optional_properties() -> None:
    """Nullable properties count as unions. A schema may have 16 unions and 24 optional properties."""
    inner = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["a"]}
    closed = {**inner, "additionalProperties": False}
    assert inside(dialects.anthropic, inner) == closed
    assert inside(dialects.anthropic, {**inner, "additionalProperties": {"type": "string"}}) == closed
    entries = inside(dialects.anthropic, {"type": "object", "additionalProperties": {"type": "string"}})
    assert entries["items"]["properties"] == {"key": {"type": "string"}, "value": {"type": "string"}}
    assert entries["items"]["additionalProperties"] is False
    assert inside(dialects.anthropic, {"type": ["array", "object"]})["type"] == "array"


def test_gemini_keeps_array_bounds_within_a_budget() -> None:
    """googleapis/python-genai#2170: the sum is limited."""
    tags = {**LIST, "items": TEXT, "maxItems": 50}
    translated = dialects.gemini({"type": "object", "properties": {f"x{n}": tags for n in range(6)}})
    assert sum("maxItems" in node for _, node, _ in nodes(translated)) == 4


@pytest.mark.parametrize(
    "pattern",
    [*("^a$", "^[a-z]{2}$", r"^\d+(-|x)?\.$", "(?:ab|c)*", "[^a\\]]", "ä{2,}", "", r"[\w\s.-]", "a|b", r"\S")],
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


@given(schemas())
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_dialect_accepts_generated_schemas(schema: Schema) -> None:
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


OPTIONAL = {"type": "object", "properties": {"a": {"type": "string"}}}
CHOICE = {"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": {"type": "object"}}]}


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        (OPTIONAL, {"a": None, "b": None}, {"b": None}),
        ({**OPTIONAL, "required": ["a"]}, {"a": None}, {"a": None}),
        ({"type": "object"}, [{"key": "a", "value": 1}, {"value": 2}, 3], {"a": 1}),
        (CHOICE, [{"key": "a", "value": [{"key": "b", "value": 1}]}], {"a": {"b": 1}}),
        ({"anyOf": [{"type": "object"}, {"type": "array"}]}, [{"key": "a"}], [{"key": "a"}]),
        ({"anyOf": [{"type": "object"}, OPTIONAL]}, {"a": None}, {}),
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


def test_the_prompt_contains_the_format_and_the_schema() -> None:
    text = dialects.prompt(VisionRequest("m", "Look.", 5, schema=RICH)).removeprefix("Look.\n\n")
    assert "JSON" in text  # OpenAI's json_object mode requires the word
    assert json.loads(text[text.index("\n") :]) == RICH
