"""What the builtin provider writes into one field, by its name, its description and its rules."""

import json
from typing import Any

import pytest

from tests.providers.measured import CLIENT, IMAGES, LIBRARY, JsonObject, answer, one, request


@pytest.mark.parametrize(
    ("key", "schema", "expected"),
    [
        ("verdict", {"enum": ["safe", "unsafe", "unknown"]}, "unknown"),
        ("verdict", {"enum": ["safe", "cannot_tell"]}, "cannot_tell"),
        ("verdict", {"enum": ["Safe", "Unsafe", None]}, None),
        ("verdict", {"enum": ["safe", "needs_review", "unsafe"]}, "needs_review"),
        ("verdict", {"enum": ["safe", "unsafe", "odd"]}, "odd"),
        ("weapons", {"enum": ["none", "present"]}, "present"),
        ("state", {"enum": ["none_visible", "present"]}, "none_visible"),
        ("orientation", {"enum": ["portrait", "landscape", "unknown"]}, "landscape"),
        ("dominant_colour", {"enum": ["green", "red", "unknown"]}, "red"),
        ("contrast", {"enum": ["low", "medium", "high"]}, "high"),
        ("is_safe", {"type": "boolean"}, False),
        ("contains_nudity", {"type": "boolean"}, True),
        ("is_safe", {"type": ["boolean", "null"]}, None),
        ("animated", {"type": "boolean"}, False),
        ("confidence", {"type": "number", "minimum": 0, "maximum": 1}, 0),
        ("safety_score", {"type": "integer", "minimum": 0, "maximum": 10}, 5),
        ("width", {"type": "integer"}, 64),
        ("width", {"type": "integer", "exclusiveMaximum": 64}, 63),
        ("height", {"type": "number", "exclusiveMinimum": 48, "multipleOf": 0.5}, 48.5),
        ("aspect_ratio", {"type": "number"}, 1.333),
        ("people_count", {"type": ["integer", "null"], "minimum": 0}, None),
        ("hex", {"type": "string", "pattern": "^#[0-9a-f]{6}$"}, "#dc1414"),
        ("brand", {"type": "string"}, ""),
        ("people", {"type": "array", "items": {"type": "string"}}, []),
        ("colours", {"type": "array", "items": {"type": "string"}, "maxItems": 1}, ["red"]),
        ("colors", {"type": "array", "items": {"enum": ["white", "pink", "red"]}}, ["red", "white"]),
        ("kind", {"const": "picture"}, "picture"),
        ("nothing", {"type": "null"}, None),
    ],
)
async def test_what_a_field_is_filled_with(key: str, schema: JsonObject, expected: Any) -> None:
    assert await one(schema, key) == expected


async def test_values_that_nobody_measured_are_owned_up_to() -> None:
    schema = {"type": "object", "properties": {"is_safe": {"type": "boolean"}, "width": {"type": "integer"}}}
    completion = await CLIENT.complete(request({**schema, "required": ["is_safe", "width"]}))
    assert "/is_safe" in completion.warnings[1]
    assert "/width" not in completion.warnings[1]
    assert json.loads((await CLIENT.complete(request(schema))).text) == {"width": 64}


async def test_a_palette_is_measured_colour_by_colour() -> None:
    properties: JsonObject = {
        "name": {"type": "string"},
        "hex": {"type": "string", "pattern": "^#[0-9A-Fa-f]{6}$"},
        "rgb": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}, "minItems": 3},
        "share": {"type": "number", "minimum": 0, "maximum": 100},
    }
    colour = {"type": "object", "properties": properties, "required": list(properties)}
    found = await one({"type": "array", "items": colour}, "palette")
    assert {swatch["name"] for swatch in found} == {"red", "bright blue", "white"}
    red = next(swatch for swatch in found if swatch["name"] == "red")
    assert (red["hex"], red["rgb"], red["share"]) == ("#dc1414", [220, 20, 20], 50)


@pytest.mark.parametrize("scale", [1, 1000])
async def test_areas_have_boxes_on_the_scale_of_the_schema(scale: int) -> None:
    edge = {"type": "number", "minimum": 0, "maximum": scale}
    row = {"type": "array", "items": edge, "minItems": 4, "maxItems": 4}
    area = {"type": "object", "properties": {"label": {"type": "string"}, "bbox": row}, "required": ["label", "bbox"]}
    for image in IMAGES.values():
        for found in await one({"type": "array", "items": area}, "objects", image):
            left, top, right, bottom = found["bbox"]
            assert 0 <= left < right <= scale
            assert 0 <= top < bottom <= scale


async def test_a_box_may_be_a_corner_and_a_size() -> None:
    share = {"type": "number", "minimum": 0, "maximum": 1}
    pixels = {"type": "integer", "description": "In pixels."}
    for edge in (share, pixels):
        box = {"type": "object", "properties": dict.fromkeys(("x", "y", "width", "height"), edge)}
        area = {"type": "object", "properties": {"box": {**box, "required": ["x", "y", "width", "height"]}}}
        for found in await one({"type": "array", "items": area}, "regions"):
            right, bottom = found["box"]["x"] + found["box"]["width"], found["box"]["y"] + found["box"]["height"]
            assert right <= (1.001 if edge is share else 65)
            assert bottom <= (1.001 if edge is share else 49)
            assert found["box"]["width"] > (0 if edge is share else 1)


async def test_relations_name_only_areas_that_are_listed() -> None:
    schema = json.loads(json.dumps(LIBRARY["locality_graph"].json_schema))
    schema["properties"]["nodes"]["maxItems"] = 2
    for image in IMAGES.values():
        value = await answer(schema, image)
        ids = [node["id"] for node in value["nodes"]]
        assert len(set(ids)) == len(ids) <= 2
        assert all({edge["from_node"], edge["to_node"]} <= set(ids) for edge in value["edges"])


@pytest.mark.parametrize("limit", [0, 1, 5, 12, 25, 40, 80, 125, 400])
async def test_lengths_are_kept_without_cutting_words(limit: int) -> None:
    said = await one({"type": "string", "maxLength": limit}, "alt_text")
    assert len(said) <= limit
    whole = await one({"type": "string"}, "alt_text")
    assert said.endswith(".") or limit < 40
    if limit >= 12:
        words = set(whole.replace(",", "").replace(".", "").split())
        assert set(said.replace(",", "").replace(".", "").split()) <= words


@pytest.mark.parametrize("least", [1, 200, 900, 3000, 20_000])
async def test_long_texts_are_long_enough(least: int) -> None:
    assert len(await one({"type": "string", "minLength": least, "maxLength": least + 40}, "caption")) >= least


async def test_what_a_description_asks_for_is_heeded() -> None:
    for image in IMAGES.values():
        brief = {"type": "string", "description": "One sentence of at most 60 characters."}
        assert len(await one(brief, "summary", image)) <= 60
        few = {"type": "string", "description": "A title of two to four words."}
        assert len((await one(few, "title", image)).split()) <= 4
        single = {"type": "string", "description": "One sentence about the light."}
        assert (await one(single, "lighting", image)).count(". ") == 0
        tags = {"type": "array", "items": {"type": "string"}, "description": "Up to 3 tags."}
        assert len(await one(tags, "tags", image)) <= 3
