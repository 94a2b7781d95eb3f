"""The portable subset: every word is kept, everything else is refused with its place."""

import json
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from perspectives import InvalidPerspective, ValidationFailed, compile_schema
from perspectives.keywords import ANNOTATIONS, KEYWORDS, markdown


def schema_of(node: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": node}, "required": ["a"], **more}


def problems_of(value: object, node: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(ValidationFailed) as caught:
        compile_schema(schema_of(node)).validate(value)
    return [(one.pointer, one.message) for one in caught.value.problems]


def refusals(schema: Any, pointer: str = "") -> dict[str, str]:
    with pytest.raises(InvalidPerspective) as caught:
        compile_schema(schema, pointer=pointer)
    return {one.pointer: one.message for one in caught.value.problems}


ENFORCED: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "type": ({"type": ["string", "null"]}, None, 1),
    "anyOf": ({"anyOf": [{"type": "string"}, {"type": "array"}]}, [1], 1),
    "enum": ({"enum": ["x", "y"]}, "x", "z"),
    "const": ({"const": 3}, 3, 4),
    "properties": ({"type": "object", "properties": {"b": {"type": "integer"}}}, {"b": 1}, {"b": "x"}),
    "required": ({"type": "object", "properties": {"b": {}}, "required": ["b"]}, {"b": None}, {}),
    "additionalProperties": ({"type": "object", "additionalProperties": {"type": "integer"}}, {"q": 1}, {"q": "x"}),
    "items": ({"type": "array", "items": {"type": "string"}}, ["x"], [1]),
    "minItems": ({"type": "array", "minItems": 2}, [1, 2], [1]),
    "maxItems": ({"type": "array", "maxItems": 1}, [1], [1, 2]),
    "uniqueItems": ({"type": "array", "uniqueItems": True}, [1, True, "1"], [{"x": 1, "y": 2}, {"y": 2.0, "x": 1}]),
    "minLength": ({"type": "string", "minLength": 2}, "äö", "ä"),
    "maxLength": ({"type": "string", "maxLength": 1}, "🦊", "ab"),
    "pattern": ({"type": "string", "pattern": "b{2}"}, "abba", "aba"),
    "format": ({"type": "string", "format": "date"}, "2024-02-29", "2023-02-29"),
    "minimum": ({"type": "number", "minimum": 0.5}, 0.5, 0.4),
    "maximum": ({"type": "integer", "maximum": 2}, 2, 3),
    "exclusiveMinimum": ({"type": "number", "exclusiveMinimum": 0}, 0.1, 0),
    "exclusiveMaximum": ({"type": "number", "exclusiveMaximum": 1}, 0.9, 1),
    "multipleOf": ({"type": "number", "multipleOf": 0.1}, 0.3, 0.35),
}


def test_every_word_that_is_kept_is_enforced_somewhere_below() -> None:
    constraining = {word for word, row in KEYWORDS.items() if row.kept} - ANNOTATIONS
    assert set(ENFORCED) == constraining


@pytest.mark.parametrize("word", ENFORCED)
def test_word_is_kept_in_the_schema_and_in_validation(word: str) -> None:
    node, right, wrong = ENFORCED[word]
    compiled = compile_schema(schema_of(node))
    assert word in compiled.json_schema["properties"]["a"]
    assert compiled.validate({"a": right}) == {"a": right}
    with pytest.raises(ValidationFailed) as caught:
        compiled.validate({"a": wrong})
    assert caught.value.problems[0].pointer.startswith("/a")
    assert caught.value.problems[0].message.endswith((".", "b{2}"))


@pytest.mark.parametrize("word", ENFORCED)
def test_the_model_validates_text_the_same_way(word: str) -> None:
    node, right, wrong = ENFORCED[word]
    compiled = compile_schema(schema_of(node))
    instance = compiled.model.model_validate_json(json.dumps({"a": right}), strict=False)
    assert compiled.dump(instance) == {"a": right}
    with pytest.raises(ValidationError) as caught:
        compiled.model.model_validate_json(json.dumps({"a": wrong}))
    assert compiled.problems(caught.value) == tuple(_misfit(compiled, {"a": wrong}))


def _misfit(compiled: Any, value: object) -> Any:
    with pytest.raises(ValidationFailed) as caught:
        compiled.validate(value)
    return caught.value.problems


NAMES = ["model_config", "schema", "json", "copy", "dict", "__class__", "_x", "hair-color", "root", "a/b~c", "", " "]


@pytest.mark.parametrize("name", [name for name in NAMES if name])
def test_a_property_may_have_any_name(name: str) -> None:
    compiled = compile_schema({"type": "object", "properties": {name: {"type": "string"}}, "required": [name]})
    assert compiled.validate({name: "x"}) == {name: "x"}
    with pytest.raises(ValidationFailed) as caught:
        compiled.validate({name: 1})
    assert caught.value.problems[0].pointer == "/" + name.replace("~", "~0").replace("/", "~1")


def test_what_is_lenient_and_what_is_not() -> None:
    def given(node: dict[str, Any], value: object) -> object:
        return compile_schema(schema_of(node)).validate({"a": value})["a"]

    assert given({"type": "number"}, "0.8") == 0.8
    assert type(given({"type": "number"}, 2**60 + 1)) is int
    assert given({"type": "integer"}, 3.0) == 3
    assert type(given({"type": "integer"}, "3.0")) is int
    assert given({"type": "boolean"}, "True") is True
    assert given({"type": "integer", "enum": [1, 2]}, "2") == 2
    for node, value in [
        ({"type": "number"}, True),
        ({"type": "number"}, "about 3"),
        ({"type": "number"}, "1_000"),
        ({"type": "number"}, float("nan")),
        ({"type": "number"}, "1e999"),
        ({"type": "integer"}, 1.5),
        ({"type": "boolean"}, 1),
        ({"type": "string"}, 5),
        ({"type": "string", "enum": ["red"]}, "Red"),
        ({"type": "array"}, "one"),
        ({"const": 1}, True),
    ]:
        assert problems_of({"a": value}, node)[0][0] == "/a"


def test_one_and_true_are_different_values_and_one_and_one_point_nought_are_not() -> None:
    compiled = compile_schema(schema_of({"enum": [1, "x", False]}))
    assert type(compiled.validate({"a": 1.0})["a"]) is int
    assert compiled.validate({"a": False})["a"] is False
    for value in (True, 0, "1", [1], {"x": 1}):
        with pytest.raises(ValidationFailed):
            compiled.validate({"a": value})


def test_nan_in_text_and_half_characters_are_refused() -> None:
    compiled = compile_schema(schema_of({}, additionalProperties=True))
    for text in ('{"a": NaN}', '{"a": [Infinity]}', '{"a": {"b": -Infinity}}'):
        with pytest.raises(ValidationError):
            compiled.model.model_validate_json(text)
    for value in ({"a": "\ud800"}, {"a": {"\udfff": 1}}, {"a": 1, "\ud800": 2}):
        with pytest.raises(ValidationFailed):
            compiled.validate(value)
    assert problems_of({"a": "x\ud800"}, {"type": "string"}) == [("/a", "Must not hold half of a surrogate pair.")]


def test_null_for_an_optional_property_is_absent_unless_it_allows_null() -> None:
    nodes: dict[str, Any] = {
        "text": {"type": "string"},
        "maybe": {"type": ["string", "null"]},
        "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "any": {},
        "choice": {"enum": ["x", None]},
    }
    compiled = compile_schema({"type": "object", "properties": nodes})
    assert compiled.validate(dict.fromkeys(nodes)) == {"maybe": None, "either": None, "any": None, "choice": None}
    assert compiled.validate({}) == {}
    assert problems_of({"a": None}, {"type": "string"}) == [("/a", "Must be text, not null.")]


def test_unknown_properties_are_dropped_refused_or_kept() -> None:
    node = {"type": "object", "properties": {"b": {"type": "string"}}}
    for others, kept in [(None, {"b": "x"}), (True, {"b": "x", "c": 1}), ({"type": "integer"}, {"b": "x", "c": 1})]:
        stated = node if others is None else {**node, "additionalProperties": others}
        assert compile_schema(schema_of(stated)).validate({"a": {"b": "x", "c": 1}}) == {"a": kept}
    closed = {**node, "additionalProperties": False}
    assert problems_of({"a": {"b": "x", "c": 1}}, closed) == [
        ("/a/c", "Is not a property of this object; leave it out.")
    ]


def test_result_has_the_schemas_order_and_every_problem_its_place() -> None:
    node = {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"tag": {"type": "string"}, "confidence": {"type": "number", "maximum": 1}},
            "required": ["tag", "confidence"],
        },
    }
    compiled = compile_schema(schema_of(node))
    kept = compiled.validate({"a": [{"confidence": 1, "tag": "x"}]})
    assert list(kept["a"][0]) == ["tag", "confidence"]
    assert problems_of({"a": [{"tag": 7, "confidence": 2}, "x", {"tag": "y"}]}, node) == [
        ("/a/0/tag", "Must be text, not a number."),
        ("/a/0/confidence", "Must be at most 1."),
        ("/a/1", "Must be an object, not text."),
        ("/a/2/confidence", "Is missing."),
    ]


@pytest.mark.parametrize("value", [[], "text", None, 5, [{"a": 1}]])
def test_an_answer_that_is_no_object_is_one_problem(value: object) -> None:
    assert problems_of(value, {"type": "string"})[0][0] == ""


def test_many_problems_are_counted_and_not_listed() -> None:
    told = problems_of({"a": ["x"] * 5000}, {"type": "array", "items": {"type": "integer"}})
    assert len(told) == 21
    assert told[-1] == ("", "And 4980 more problems.")


def test_any_of_takes_the_exact_alternative_first_and_names_what_is_wrong_in_the_one_meant() -> None:
    thing = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    more = {**thing, "properties": {**thing["properties"], "y": {"type": "string"}}}
    union = {"anyOf": [{"type": "integer"}, {"type": "string"}, thing, more]}
    compiled = compile_schema(schema_of(union))
    assert compiled.validate({"a": "5"}) == {"a": "5"}
    assert compiled.validate({"a": {"x": 1, "y": "z"}}) == {"a": {"x": 1, "y": "z"}}
    assert compiled.validate({"a": {"x": "1"}}) == {"a": {"x": 1}}
    nullable = {"anyOf": [thing, {"type": "null"}]}
    assert problems_of({"a": {"x": "much"}}, nullable) == [("/a/x", "Must be a whole number, not text.")]
    two = {"anyOf": [thing, {"type": "array", "items": {"type": "string"}}]}
    assert problems_of({"a": ["x", 2]}, two) == [("/a/1", "Must be text, not a number.")]
    assert problems_of({"a": 2}, two) == [("/a", "Must fit one of the alternatives: object, array.")]


class Light(BaseModel):
    """Where the light comes from."""

    side: Literal["left", "right"] = Field(description="Look at the shadows.")
    strength: float = Field(ge=0, le=1)


class Picture(BaseModel):
    subject: str
    lights: list[Light]
    main: Light | None = None
    year: int | None = Field(default=None, description="If a clock or calendar shows it.")
    counts: dict[str, int] = {}


def test_a_pydantic_model_becomes_a_schema_without_references() -> None:
    compiled = compile_schema(Picture.model_json_schema())
    assert "$ref" not in json.dumps(compiled.json_schema)
    assert "$defs" not in compiled.json_schema
    light = compiled.json_schema["properties"]["lights"]["items"]
    assert light["description"] == "Where the light comes from."
    answer = {"subject": "x", "lights": [{"side": "left", "strength": 1}], "main": None, "year": "1990", "counts": {}}
    assert Picture.model_validate(compiled.validate(answer)).year == 1990
    bad = {"subject": "x", "lights": [{"side": "up", "strength": 2}]}
    assert [one.pointer for one in _misfit(compiled, bad)] == ["/lights/0/side", "/lights/0/strength"]


def test_description_beside_a_reference_wins_and_anything_else_is_refused() -> None:
    definitions = {"$defs": {"x": {"type": "string", "description": "inner", "maxLength": 3}}}
    compiled = compile_schema(schema_of({"$ref": "#/$defs/x", "description": "outer"}, **definitions))
    assert compiled.json_schema["properties"]["a"] == {"type": "string", "description": "outer", "maxLength": 3}
    single = compile_schema(schema_of({"allOf": [{"$ref": "#/$defs/x"}], "title": "T"}, **definitions))
    assert single.json_schema["properties"]["a"]["title"] == "T"
    assert list(refusals(schema_of({"$ref": "#/$defs/x", "minLength": 1}, **definitions))) == [
        "/properties/a/minLength"
    ]


LOOP: dict[str, Any] = {"$defs": {"n": {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}}}}


@pytest.mark.parametrize(
    ("node", "more", "pointer"),
    [
        ({"type": "string", "contentEncoding": "x"}, {}, "/properties/a/contentEncoding"),
        ({"oneOf": [{"type": "string"}]}, {}, "/properties/a/oneOf"),
        ({"not": {"type": "string"}}, {}, "/properties/a/not"),
        ({"type": "string", "nullable": True}, {}, "/properties/a/nullable"),
        ({"type": "array", "prefixItems": []}, {}, "/properties/a/prefixItems"),
        ({"type": "object", "patternProperties": {}}, {}, "/properties/a/patternProperties"),
        ({"allOf": [{}, {}]}, {}, "/properties/a/allOf"),
        ({"$ref": "https://example.org/s.json"}, {}, "/properties/a/$ref"),
        ({"$ref": "other.json#/$defs/x"}, {}, "/properties/a/$ref"),
        ({"$ref": "#/properties/a"}, {}, "/properties/a/$ref"),
        ({"$ref": "#/$defs/none"}, {}, "/properties/a/$ref"),
        ({"$ref": "#/$defs/n"}, LOOP, "/$defs/n/properties/next/$ref"),
        ({"$ref": 5}, {}, "/properties/a/$ref"),
        (False, {}, "/properties/a"),
        ("string", {}, "/properties/a"),
        ({"type": "text"}, {}, "/properties/a/type"),
        ({"type": ["string", "integer"]}, {}, "/properties/a/type"),
        ({"type": ["string", "integer", "null"]}, {}, "/properties/a/type"),
        ({"type": []}, {}, "/properties/a/type"),
        ({"type": "string", "minimum": 1}, {}, "/properties/a/minimum"),
        ({"minLength": 1}, {}, "/properties/a/minLength"),
        ({"type": "string", "minLength": -1}, {}, "/properties/a/minLength"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, {}, "/properties/a/maxLength"),
        ({"type": "number", "exclusiveMinimum": 1, "maximum": 1}, {}, "/properties/a/maximum"),
        ({"type": "number", "exclusiveMinimum": True}, {}, "/properties/a/exclusiveMinimum"),
        ({"type": "number", "multipleOf": 0}, {}, "/properties/a/multipleOf"),
        ({"type": "string", "format": "hostname"}, {}, "/properties/a/format"),
        ({"type": "string", "pattern": "(?=a)b"}, {}, "/properties/a/pattern"),
        ({"type": "string", "pattern": r"(a)\1"}, {}, "/properties/a/pattern"),
        ({"type": "string", "pattern": "("}, {}, "/properties/a/pattern"),
        ({"enum": []}, {}, "/properties/a/enum"),
        ({"enum": [1, 1.0]}, {}, "/properties/a/enum"),
        ({"enum": [{}]}, {}, "/properties/a/enum"),
        ({"type": "string", "enum": ["x", None]}, {}, "/properties/a/enum/1"),
        ({"type": "integer", "const": 1.5}, {}, "/properties/a/const"),
        ({"anyOf": []}, {}, "/properties/a/anyOf"),
        ({"anyOf": [{"type": "string"}], "minLength": 1}, {}, "/properties/a/minLength"),
        ({"type": "object", "properties": []}, {}, "/properties/a/properties"),
        ({"type": "object", "properties": {"": {}}}, {}, "/properties/a/properties/"),
        ({"type": "object", "required": ["x"]}, {}, "/properties/a/required/0"),
        ({"type": "object", "properties": {"x": {}}, "required": ["x", "x"]}, {}, "/properties/a/required"),
        ({"type": "string", "title": 5}, {}, "/properties/a/title"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_place(node: Any, more: dict[str, Any], pointer: str) -> None:
    assert list(refusals(schema_of(node, **more), "/json_schema")) == ["/json_schema" + pointer]


@pytest.mark.parametrize(
    "root", [{}, {"type": "object"}, {"type": "object", "properties": {}}, {"type": "string"}, {"enum": [1]}, [], None]
)
def test_the_root_is_an_object_with_properties(root: Any) -> None:
    assert refusals(root)


def test_all_problems_are_told_at_once() -> None:
    nodes = {"a": {"type": "strin"}, "b": {"oneOf": []}, "c": {"type": "string", "format": "x", "pattern": "("}}
    assert len(refusals({"type": "object", "properties": nodes})) == 4


def test_hints_lead_to_the_right_word() -> None:
    assert "anyOf" in refusals(schema_of({"oneOf": []}))["/properties/a/oneOf"]
    assert "minLength" in refusals(schema_of({"minlength": 1}))["/properties/a/minlength"]


def test_compiling_the_compiled_schema_changes_nothing() -> None:
    for node, _, _ in ENFORCED.values():
        once = compile_schema(schema_of(node)).json_schema
        assert json.dumps(compile_schema(once).json_schema) == json.dumps(once)


def test_the_order_of_properties_is_part_of_a_schema() -> None:
    names = compile_schema({"type": "object", "properties": {"x": {}, "y": {}}}).json_schema["properties"]
    assert list(names) == ["x", "y"]
    turned = compile_schema({"type": "object", "properties": {"y": {}, "x": {}}}).json_schema["properties"]
    assert list(turned) == ["y", "x"]


def test_the_model_shows_the_portable_schema() -> None:
    compiled = compile_schema(Picture.model_json_schema())
    shown = compiled.model.model_json_schema()
    assert shown["properties"]["lights"] == compiled.json_schema["properties"]["lights"]


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("date", "2026-05-31", "31.05.2026"),
        ("date", "2024-02-29", "20240229"),
        ("time", "23:59:60Z", "14:05:00"),
        ("date-time", "2026-05-31t14:05:00.5+02:00", "2026-05-31 14:05:00Z"),
        ("email", "a.b@example.org", "a@b"),
        ("uri", "urn:isbn:0451450523", "example.org/a b"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"),
    ],
)
def test_formats_are_enforced(name: str, right: str, wrong: str) -> None:
    node = {"type": "string", "format": name}
    compile_schema(schema_of(node)).validate({"a": right})
    assert name in problems_of({"a": wrong}, node)[0][1]


def test_the_table_names_every_word_once() -> None:
    table = markdown()
    for word in KEYWORDS:
        assert table.count(f"\n| `{word}` |") == 1
    assert all(line.startswith("| ") for line in table.splitlines() if line)
