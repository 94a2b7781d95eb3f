"""Reading perspectives: graphcap's files in all variants, inline perspectives, and their listing."""

import json
from typing import Any

import pytest

from perspectives import InvalidPerspective, Perspective, ValidationFailed, parse
from perspectives.perspective import RESERVED

PLAIN: dict[str, Any] = {
    "name": "mood_notes",
    "display_name": "Mood Notes",
    "version": "1",
    "prompt": "Write down the mood of the picture.",
    "schema_fields": [
        {"name": "evidence", "type": "str", "description": "What carries the mood.", "is_list": True},
        {"name": "mood", "type": "str", "description": "One sentence.", "is_list": False},
    ],
    "table_columns": [{"name": "Part", "style": "cyan"}, {"name": "Text", "style": "green"}],
    "context_template": "{mood}",
    "module": "core",
    "type": "perspective",
    "tags": ["mood"],
    "description": "The mood and what carries it.",
    "deprecated": False,
    "priority": 20,
}

STR_WITH_FIELDS: dict[str, Any] = {
    "name": "found_tags",
    "type": "str",
    "description": "Everything found.",
    "is_list": True,
    "is_complex": True,
    "fields": [
        {"name": "tag", "type": "str", "description": "A word."},
        {"name": "confidence", "type": "float", "description": "0 to 1."},
    ],
}

DICT_WITH_FIELDS: dict[str, Any] = {
    "name": "edges",
    "type": "dict",
    "description": "What stands where.",
    "is_list": True,
    "fields": [
        {"name": "from_node", "type": "str", "description": "Start."},
        {"name": "to_node", "type": "str", "description": "End."},
    ],
}
TEXT = {"name": "text", "type": "str", "description": "Any text.", "is_list": False}
INLINE: dict[str, Any] = {
    "prompt": "Describe {thing}.",
    "variables": [{"name": "thing"}],
    "json_schema": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
}


def with_fields(*fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the plain file with other fields and keys; None removes a key."""
    changed = {**PLAIN, "schema_fields": list(fields), "context_template": "", **more}
    return {key: value for key, value in changed.items() if value is not None}


def warned(perspective: Perspective) -> list[str]:
    return [warning.pointer for warning in perspective.warnings]


def rejected(data: object, **options: Any) -> list[str]:
    with pytest.raises(InvalidPerspective) as caught:
        parse(data, **options)
    return list(dict.fromkeys(problem.pointer for problem in caught.value.problems))


def assert_same_from_wire(perspective: Perspective) -> None:
    again = parse(json.loads(json.dumps(perspective.to_wire())))
    assert again.to_wire() | {"warnings": []} == perspective.to_wire() | {"warnings": []}


def test_every_value_of_a_plain_file_is_read() -> None:
    perspective = parse(PLAIN, source="mood.json")
    assert (perspective.name, perspective.display_name, perspective.version) == ("mood_notes", "Mood Notes", "1")
    assert (perspective.module, perspective.tags, perspective.priority) == ("core", ("mood",), 20)
    assert (perspective.context_template, perspective.source, perspective.warnings) == ("{mood}", "mood.json", ())
    assert perspective.schema_fields == PLAIN["schema_fields"]
    assert perspective.json_schema == {
        "type": "object",
        "properties": {
            "evidence": {"type": "array", "description": "What carries the mood.", "items": {"type": "string"}},
            "mood": {"type": "string", "description": "One sentence."},
        },
        "required": ["evidence", "mood"],
    }
    assert_same_from_wire(perspective)


@pytest.mark.parametrize("field", [STR_WITH_FIELDS, DICT_WITH_FIELDS], ids=["str", "dict"])
def test_field_with_fields_is_an_object(field: dict[str, Any]) -> None:
    perspective = parse(with_fields(field))
    items = perspective.json_schema["properties"][field["name"]]["items"]
    assert list(items["properties"]) == items["required"] == [inner["name"] for inner in field["fields"]]
    listed = perspective.to_wire()["schema"]["schema_fields"][0]
    assert [inner["name"] for inner in listed["fields"]] == items["required"]
    assert listed.get("is_complex") == field.get("is_complex")
    assert perspective.warnings == ()
    assert_same_from_wire(perspective)


@pytest.mark.parametrize(
    ("word", "valid", "invalid"),
    [("str", "x", 1), ("int", 1, 1.5), ("float", 0.5, "x"), ("bool", True, 1), ("dict", {"any": [1]}, "x")],
)
def test_field_types_of_graphcap(word: str, valid: object, invalid: object) -> None:
    for is_list, answer in ((None, valid), (True, [valid])):
        perspective = parse(with_fields({"name": "a", "type": word, "description": "d", "is_list": is_list}))
        assert perspective.validator.validate({"a": answer}).value == {"a": answer}
        assert perspective.warnings == ()
        with pytest.raises(ValidationFailed):
            perspective.validator.validate({"a": invalid})
        assert_same_from_wire(perspective)


ODD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "optional keys are null": ({**with_fields(TEXT), "replacement": None, "tags": None, "variables": None}, []),
    "no type": (with_fields({"name": "a", "description": "d"}), ["/schema_fields/0/type"]),
    "fields is empty": (with_fields({**TEXT, "fields": []}, {**TEXT, "name": "b", "fields": None}), []),
    "unknown field key": (with_fields({**TEXT, "colour": 1}), ["/schema_fields/0/colour"]),
    "unknown top key": (with_fields(TEXT, author="me"), ["/author"]),
    "template names no field": (with_fields(TEXT, context_template="{texts}: {text}"), ["/context_template"]),
    "placeholder undeclared": (with_fields(TEXT, prompt="Do {this} and {this}."), ["/prompt"]),
    "placeholder with a superscript": (with_fields(TEXT, prompt="Estimate {m²}."), ["/prompt"]),
}


@pytest.mark.parametrize("oddity", ODD)
def test_unusual_files_load_with_a_warning(oddity: str) -> None:
    data, pointers = ODD[oddity]
    perspective = parse(data)
    assert warned(perspective) == pointers
    assert_same_from_wire(perspective)
    wire = perspective.to_wire()["schema"]
    assert all(isinstance(wire[key], str) for key in ("name", "version", "prompt", "context_template"))
    assert all(isinstance(column["style"], str) for column in wire["table_columns"])
    assert None not in [value for field in wire["schema_fields"] for value in field.values()]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        *(({"name": name}, "/name") for name in (None, "a/b", "..", "a\nb", "x" * 200, ["a"], *RESERVED)),
        *(({"schema_fields": fields}, "/schema_fields") for fields in ([], {})),
        ({"schema_fields": [TEXT, TEXT]}, "/schema_fields/1/name"),
        *(({"schema_fields": [{**TEXT, "type": kind}]}, "/schema_fields/0/type") for kind in ("list", 5, {"a": 1})),
        ({"schema_fields": [{**TEXT, "type": "list", "fields": [TEXT]}]}, "/schema_fields/0/type"),
        ({"schema_fields": [{**TEXT, "name": ""}]}, "/schema_fields/0/name"),
        ({"table_columns": [{"style": "cyan"}]}, "/table_columns/0/name"),
        ({"priority": "high"}, "/priority"),
        ({"variables": [{"name": "a b"}]}, "/variables/0/name"),
        ({"variables": [{"name": "a"}] * 2}, "/variables"),
        ({"variables": [{"name": "a", "default": 1}]}, "/variables/0/default"),
        ({"variables": [{"name": "a", "default": "x", "required": True}]}, "/variables/0"),
        ({"json_schema": INLINE["json_schema"]}, "/schema_fields"),
        ({"json_schema": {"type": "object", "properties": {"a": {"x": 1}}}}, "/json_schema/properties/a/x"),
        ({"description": "half \ud83d"}, "/description"),
        ({"extra": {1, 2}}, "/extra"),
        ({"prompt": "x" * 262_144}, ""),
    ],
)
def test_mistake_is_rejected_with_its_place(change: dict[str, Any], pointer: str) -> None:
    data = {key: value for key, value in {**PLAIN, **change}.items() if value is not None}
    assert rejected(data, source="x.json") == [pointer]


def test_an_inline_perspective_needs_only_a_prompt_and_a_schema() -> None:
    perspective = parse(INLINE)
    assert (perspective.name, perspective.module, perspective.version) == ("inline", "custom", "1")
    assert (perspective.source, perspective.warnings) == ("inline", ())
    assert perspective.schema_fields == [{"name": "a", "type": "str", "description": "", "is_list": False}]
    assert parse({**INLINE, "name": "list"}, reserved_check=False).name == "list"
    assert_same_from_wire(perspective)
    for root in ({"additionalProperties": {"type": "string"}}, {"oneOf": [INLINE["json_schema"]]}):
        assert_same_from_wire(parse({**INLINE, "json_schema": {"type": "object", **root}}))


def test_json_schema_is_described_in_graphcaps_notation() -> None:
    boxes = {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "number"}}}}
    node = {
        "type": "object",
        "properties": {
            "mood": {"type": ["string", "null"], "description": "The mood.", "enum": ["calm", "wild", None]},
            "boxes": {"anyOf": [boxes, {"type": "null"}]},
            "grid": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
            "either": {"oneOf": [{"type": "string"}, {"type": "integer"}], "title": "Either"},
            "pair": {"type": "array", "prefixItems": [{}], "items": False},
            "untyped": {"enum": ["a"]},
        },
    }
    perspective = parse({**INLINE, "json_schema": node})
    fields = {field["name"]: field for field in perspective.schema_fields}
    assert fields["mood"]["description"] == "The mood. One of: calm, wild, null."
    assert (fields["boxes"]["is_list"], fields["boxes"]["fields"][0]["type"]) == (True, "float")
    assert (fields["grid"]["is_list"], fields["grid"]["type"]) == (True, "list")
    assert (fields["either"]["type"], fields["either"]["description"]) == ("any", "Either")
    assert (fields["pair"]["type"], fields["untyped"]["type"]) == ("list", "str")
    assert_same_from_wire(perspective)


def test_listed_perspective_may_be_edited_and_sent_back() -> None:
    wire = parse(PLAIN).to_wire()
    perspective = parse({**wire, "json_schema": INLINE["json_schema"], "prompt": "Another prompt."})
    assert list(perspective.json_schema["properties"]) == ["a"]
    assert [field["name"] for field in perspective.schema_fields] == ["a"]
    pointers = ["/schema/prompt", "/schema/schema_fields", "/schema/context_template"]
    assert (perspective.prompt, warned(perspective)) == ("Another prompt.", pointers)
    graphcap = {key: wire[key] for key in ("name", "display_name", "version", "description", "schema", "module")}
    assert parse(graphcap).json_schema == parse(PLAIN).json_schema
    odd = {**graphcap, "schema": {**graphcap["schema"], "colour": 1, "schema_fields": [{"name": "a"}]}}
    assert {"/schema/colour", "/schema/schema_fields/0/type"} <= set(warned(parse(odd)))


def test_warnings_name_the_likely_key_and_a_required_property_that_is_missing() -> None:
    closed = {**INLINE["json_schema"], "required": ["a", "b"], "additionalProperties": False}
    warnings = parse({**INLINE, "json_schema": closed}).warnings
    warnings += parse(with_fields({**TEXT, "descripton": "d"})).warnings
    assert [(warning.pointer, warning.message) for warning in warnings] == [
        ("/json_schema/required", "Demands 'b', which is not in properties: no answer can match."),
        ("/schema_fields/0/descripton", "Is not a known key. Did you mean 'description'?"),
    ]


def test_digest_identifies_the_content() -> None:
    perspective = parse(PLAIN)
    assert perspective.digest == parse(dict(reversed(PLAIN.items())), source="elsewhere").digest
    turned = {**PLAIN, "schema_fields": PLAIN["schema_fields"][::-1]}
    assert perspective.digest not in (parse({**PLAIN, "prompt": "Other."}).digest, parse(turned).digest)
    bounds = {"type": "object", "properties": {"a": {"type": "number", "minimum": 1.0}}}
    as_javascript = {"type": "object", "properties": {"a": {"minimum": 1, "type": "number"}}}
    assert len({parse({**INLINE, "json_schema": schema}).digest for schema in (bounds, as_javascript)}) == 1
