"""Reading perspectives: graphcap's files with all their oddities, inline ones, and what is told back."""

import json
from typing import Any

import pytest
from pydantic import BaseModel

import perspectives
from perspectives import InvalidPerspective, Perspective, ValidationFailed, parse
from perspectives.catalog import LIBRARY
from perspectives.perspective import RESERVED
from tests.perspectives.upstream import DICT_WITH_FIELDS, PLAIN, STR_WITH_FIELDS, with_fields

TEXT = {"name": "text", "type": "str", "description": "Any text.", "is_list": False}
INLINE: dict[str, Any] = {
    "prompt": "Describe {thing}.",
    "variables": [{"name": "thing"}],
    "json_schema": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
}


def warned(perspective: Perspective) -> list[str]:
    return [one.pointer for one in perspective.warnings]


def refused(data: object, **options: Any) -> dict[str, str]:
    with pytest.raises(InvalidPerspective) as caught:
        parse(data, **options)
    return {one.pointer: one.message for one in caught.value.problems}


def assert_same_from_wire(perspective: Perspective) -> None:
    again = parse(json.loads(json.dumps(perspective.to_wire())))
    assert again.to_wire() | {"warnings": []} == perspective.to_wire() | {"warnings": []}
    assert again.digest == perspective.digest


def test_a_plain_file_is_read_whole() -> None:
    one = parse(PLAIN, source="mood.json")
    assert (one.name, one.display_name, one.version, one.type) == ("mood_notes", "Mood Notes", "1", "perspective")
    assert (one.module, one.tags, one.priority, one.deprecated) == ("core", ("mood",), 20, False)
    assert (one.context_template, one.source, one.warnings) == ("{mood}", "mood.json", ())
    assert one.schema_fields == PLAIN["schema_fields"]
    assert one.json_schema == {
        "type": "object",
        "properties": {
            "evidence": {"type": "array", "description": "What carries the mood.", "items": {"type": "string"}},
            "mood": {"type": "string", "description": "One sentence."},
        },
        "required": ["evidence", "mood"],
    }
    assert_same_from_wire(one)


@pytest.mark.parametrize("field", [STR_WITH_FIELDS, DICT_WITH_FIELDS], ids=["str", "dict"])
def test_having_fields_is_the_sign_of_structure(field: dict[str, Any]) -> None:
    one = parse(with_fields(field))
    node = one.json_schema["properties"][field["name"]]
    assert node["type"] == "array"
    assert list(node["items"]["properties"]) == [inner["name"] for inner in field["fields"]]
    assert node["items"]["required"] == list(node["items"]["properties"])
    told = one.to_wire()["schema"]["schema_fields"][0]
    assert [inner["name"] for inner in told["fields"]] == list(node["items"]["properties"])
    assert told.get("is_complex") == field.get("is_complex")
    assert one.warnings == ()
    assert_same_from_wire(one)


def test_fields_nest_to_any_depth() -> None:
    field: dict[str, Any] = {"name": "leaf", "type": "int", "description": "A number."}
    answer: Any = 3
    for level in range(30):
        answer = {field["name"]: answer}
        field = {"name": f"level{level}", "type": "dict", "description": "Deeper.", "fields": [field]}
    one = parse(with_fields(field))
    assert one.compiled.validate({field["name"]: answer}) == {field["name"]: answer}
    assert_same_from_wire(one)


@pytest.mark.parametrize(
    ("word", "right", "wrong"),
    [("str", "x", 1), ("int", 1, 1.5), ("float", 0.5, "x"), ("bool", True, 1), ("dict", {"any": [1]}, "x")],
)
def test_type_words(word: str, right: object, wrong: object) -> None:
    one = parse(with_fields({"name": "a", "type": word, "description": "d", "is_list": None}))
    assert one.compiled.validate({"a": right}) == {"a": right}
    with pytest.raises(ValidationFailed):
        one.compiled.validate({"a": wrong})
    listed = parse(with_fields({"name": "a", "type": word, "description": "d", "is_list": True}))
    assert listed.compiled.validate({"a": [right]}) == {"a": [right]}
    assert one.warnings == listed.warnings == ()
    assert_same_from_wire(one)
    assert_same_from_wire(listed)


ODD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "version is a number": (with_fields(TEXT, version=2), []),
    "no version": (with_fields(TEXT, version=None), []),
    "style is null": (with_fields(TEXT, table_columns=[{"name": "x", "style": None}]), []),
    "no columns, template, tags": (with_fields(TEXT, table_columns=None, context_template=None, tags=None), []),
    "replacement is null": ({**with_fields(TEXT), "replacement": None, "tags": None, "variables": None}, []),
    "no description": (with_fields({"name": "a", "type": "str"}), ["/schema_fields/0"]),
    "unknown word": (with_fields({**TEXT, "type": "colour"}), ["/schema_fields/0/type"]),
    "no type": (with_fields({"name": "a", "description": "d"}), ["/schema_fields/0/type"]),
    "type is some object": (with_fields({**TEXT, "type": {"kind": "x"}}), ["/schema_fields/0/type"]),
    "complex without fields": (with_fields({**TEXT, "is_complex": True}), ["/schema_fields/0/is_complex"]),
    "fields is null": (with_fields({**TEXT, "fields": None}), []),
    "fields is empty": (with_fields({**TEXT, "fields": []}), []),
    "unknown field key": (with_fields({**TEXT, "colour": 1}), ["/schema_fields/0/colour"]),
    "unknown top key": (with_fields(TEXT, author="me"), ["/author"]),
    "unknown column key": (with_fields(TEXT, table_columns=[{"name": "x", "width": 3}]), ["/table_columns/0/width"]),
    "editor's key": (with_fields(TEXT, **{"$schema": "x.json"}), []),
    "unknown kind": (with_fields(TEXT, type={"a": 1}), ["/type"]),
    "template names no field": (with_fields(TEXT, context_template="{texts}: {text}"), ["/context_template"]),
    "template with a path": (with_fields(TEXT, context_template="{text.a}"), ["/context_template"]),
    "placeholder undeclared": (with_fields(TEXT, prompt="Do {this} and {this}."), ["/prompt"]),
    "deep oddity": (with_fields({**DICT_WITH_FIELDS, "fields": [{"name": "q"}]}), ["/schema_fields/0/fields/0"] * 2),
}


@pytest.mark.parametrize("oddity", ODD)
def test_oddities_load_and_nothing_is_dropped_in_silence(oddity: str) -> None:
    data, pointers = ODD[oddity]
    one = parse(data)
    told = [pointer.removesuffix("/type") if oddity == "deep oddity" else pointer for pointer in warned(one)]
    assert told == pointers
    assert_same_from_wire(one)
    wire = one.to_wire()
    assert all(isinstance(wire["schema"][key], str) for key in ("name", "version", "prompt", "context_template"))
    assert all(isinstance(column["style"], str) for column in wire["schema"]["table_columns"])
    assert all(isinstance(field["description"], str) for field in wire["schema"]["schema_fields"])
    assert all(isinstance(field["type"], str) for field in wire["schema"]["schema_fields"])
    assert None not in [value for field in wire["schema"]["schema_fields"] for value in field.values()]


def test_version_keeps_its_zero_and_unknown_keys_are_kept() -> None:
    assert parse(with_fields(TEXT, version=1.0)).version == "1.0"
    assert parse(with_fields(TEXT, author={"name": "me"})).to_wire()["author"] == {"name": "me"}
    assert warned(parse({**PLAIN, "author": None})) == ["/author"]
    wire = parse(PLAIN).to_wire()
    assert parse({**wire, "prompt": None}).prompt == PLAIN["prompt"]


def test_a_type_that_is_a_schema_is_used() -> None:
    colour = {"type": "string", "enum": ["red", "blue"]}
    one = parse(with_fields({**TEXT, "type": colour, "is_list": True}, TEXT | {"name": "b"}))
    assert one.compiled.validate({"text": ["red"], "b": "x"}) == {"text": ["red"], "b": "x"}
    assert one.to_wire()["schema"]["schema_fields"][0]["type"] == "str"
    assert_same_from_wire(one)
    bad = with_fields({**TEXT, "type": {"type": "string", "oneOf": []}, "is_list": True})
    assert list(refused(bad)) == ["/schema_fields/0/type/oneOf"]


@pytest.mark.parametrize("name", ["model_config", "schema", "json", "copy", "__class__", "_x", "hair-color"])
def test_field_names_are_free(name: str) -> None:
    one = parse(with_fields({**TEXT, "name": name}))
    assert one.compiled.validate({name: "x"}) == {name: "x"}
    assert_same_from_wire(one)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"name": None}, "/name"),
        ({"name": "a/b"}, "/name"),
        ({"name": ".."}, "/name"),
        ({"name": "a\nb"}, "/name"),
        ({"name": "x" * 200}, "/name"),
        ({"name": ["a"]}, "/name"),
        ({"module": "a/b"}, "/module"),
        ({"prompt": None}, "/prompt"),
        ({"prompt": "  "}, "/prompt"),
        ({"prompt": 5.5}, None),
        ({"prompt": "{a}" * 101}, "/prompt"),
        ({"context_template": "{a}" * 101}, "/context_template"),
        ({"schema_fields": None}, "/schema_fields"),
        ({"schema_fields": []}, "/schema_fields"),
        ({"schema_fields": {"a": "str"}}, "/schema_fields"),
        ({"schema_fields": ["a"]}, "/schema_fields/0"),
        ({"schema_fields": [TEXT, TEXT]}, "/schema_fields/1/name"),
        ({"schema_fields": [{"type": "str"}]}, "/schema_fields/0/name"),
        ({"schema_fields": [{**TEXT, "is_list": "yes"}]}, "/schema_fields/0/is_list"),
        ({"schema_fields": [{**TEXT, "description": 3}]}, "/schema_fields/0/description"),
        ({"schema_fields": [{**TEXT, "name": "x" * 201}]}, "/schema_fields/0"),
        ({"schema_fields": [{**TEXT, "fields": {"a": 1}}]}, "/schema_fields/0/fields"),
        ({"table_columns": {}}, "/table_columns"),
        ({"table_columns": [{"style": "cyan"}]}, "/table_columns/0"),
        ({"tags": [1]}, "/tags"),
        ({"deprecated": "no"}, "/deprecated"),
        ({"priority": "high"}, "/priority"),
        ({"variables": "a"}, "/variables"),
        ({"variables": [{"name": "a b"}]}, "/variables/0/name"),
        ({"variables": ["a", "a"]}, "/variables/1"),
        ({"variables": {"a": "text"}}, "/variables/a"),
        ({"variables": [{"name": "a", "default": 1}]}, "/variables/0/default"),
        ({"variables": [{"name": "a", "default": "x", "required": True}]}, "/variables/0/default"),
        ({"json_schema": INLINE["json_schema"]}, "/schema_fields"),
        ({"json_schema": {"type": "object", "properties": {"a": {"x": 1}}}}, "/json_schema/properties/a/x"),
        ({"schema": {"type": "object", "properties": {}}}, "/schema"),
        ({"description": "half \ud83d"}, "/description"),
        ({"extra": {1: 2}}, "/extra"),
        ({"extra": {1, 2}}, "/extra"),
        ({"priority": float("inf")}, "/priority"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(change: dict[str, Any], pointer: str | None) -> None:
    data = {key: value for key, value in {**PLAIN, **change}.items() if value is not None}
    if pointer is None:
        assert parse(data, source="x.json").prompt == "5.5"
    else:
        assert list(refused(data, source="x.json")) == [pointer]


@pytest.mark.parametrize("data", [None, [], "alt_text", 5])
def test_only_an_object_is_a_perspective(data: object) -> None:
    assert list(refused(data)) == [""]


def test_all_problems_come_at_once() -> None:
    data = {"name": "a/b", "schema_fields": [], "variables": 5, "tags": 3}
    assert {"/name", "/prompt", "/schema_fields", "/variables"} <= set(refused(data))


def test_names_of_api_paths_are_reserved() -> None:
    for name in RESERVED:
        assert list(refused({**PLAIN, "name": name})) == ["/name"]
        assert parse({**PLAIN, "name": name}, reserved_check=False).name == name


def test_inline_needs_only_a_prompt_and_a_schema() -> None:
    one = parse(INLINE)
    assert (one.name, one.module, one.version, one.source) == ("inline", "custom", "1", "inline")
    assert one.warnings == ()
    assert one.schema_fields == [{"name": "a", "type": "str", "description": "", "is_list": False}]
    assert_same_from_wire(one)


def test_a_json_schema_is_told_in_graphcap_words() -> None:
    node = {
        "type": "object",
        "properties": {
            "mood": {"type": ["string", "null"], "description": "The mood.", "enum": ["calm", "wild", None]},
            "boxes": {
                "anyOf": [
                    {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "number"}}}},
                    {"type": "null"},
                ]
            },
            "grid": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
            "either": {"anyOf": [{"type": "string"}, {"type": "integer"}], "title": "Either"},
        },
    }
    one = parse({**INLINE, "json_schema": node})
    mood, boxes, grid, either = one.schema_fields
    assert mood == {
        "name": "mood",
        "type": "str",
        "description": "The mood. One of: calm, wild, null.",
        "is_list": False,
    }
    assert (boxes["is_list"], boxes["is_complex"], boxes["fields"][0]["type"]) == (True, True, "float")
    assert (grid["is_list"], grid["type"], either["type"], either["description"]) == (True, "list", "any", "Either")
    assert_same_from_wire(one)


def test_what_came_over_the_wire_may_be_edited_and_sent_back() -> None:
    wire = parse(PLAIN).to_wire()
    edited = {**wire, "json_schema": INLINE["json_schema"], "prompt": "Another prompt."}
    one = parse(edited)
    assert list(one.json_schema["properties"]) == ["a"]
    assert one.prompt == "Another prompt."
    assert [field["name"] for field in one.schema_fields] == ["a"]
    pointers = ["/schema/prompt", "/schema/schema_fields", "/schema/context_template", "/digest"]
    assert warned(one) == pointers


def test_a_wire_without_json_schema_is_graphcaps_own_answer() -> None:
    wire = parse(PLAIN).to_wire()
    graphcap = {key: wire[key] for key in ("name", "display_name", "version", "description", "schema", "module")}
    one = parse(graphcap)
    assert one.prompt == PLAIN["prompt"]
    assert one.json_schema == parse(PLAIN).json_schema
    odd = {**graphcap, "schema": {**graphcap["schema"], "colour": 1, "schema_fields": [{"name": "a"}]}}
    assert warned(parse(odd))[0] == "/schema/colour"
    assert "/schema/schema_fields/0/type" in warned(parse(odd))


def test_the_digest_names_the_content_and_nothing_else() -> None:
    one = parse(PLAIN)
    assert one.digest == parse(dict(reversed(PLAIN.items())), source="elsewhere").digest
    assert one.digest != parse({**PLAIN, "prompt": "Other."}).digest
    turned = {**PLAIN, "schema_fields": PLAIN["schema_fields"][::-1]}
    assert one.digest != parse(turned).digest
    bounds = {"type": "object", "properties": {"a": {"type": "number", "minimum": 1.0}}}
    as_javascript_writes_it = {"type": "object", "properties": {"a": {"minimum": 1, "type": "number"}}}
    digests = {parse({**INLINE, "json_schema": schema}).digest for schema in (bounds, as_javascript_writes_it)}
    assert len(digests) == 1


def test_every_shipped_perspective_comes_back_from_the_wire() -> None:
    for file in sorted(LIBRARY.rglob("*.json")):
        assert_same_from_wire(parse(json.loads(file.read_text(encoding="utf-8")), source=str(file)))


def test_a_perspective_is_built_in_python() -> None:
    class Note(BaseModel):
        subject: str
        colours: list[str] = []

    one = perspectives.parse({"name": "note", "prompt": "Look.", "json_schema": Note.model_json_schema()})
    assert Note.model_validate(one.compiled.validate({"subject": "x", "colours": None})) == Note(subject="x")


def test_exports() -> None:
    assert all(hasattr(perspectives, name) for name in perspectives.__all__)
