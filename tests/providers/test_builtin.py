"""The built-in provider: valid answers that depend on the image, and warnings about its limits."""

import json
from itertools import combinations
from pathlib import Path
from time import thread_time
from typing import Any

import jsonschema_rs
import pytest

from perspectives import catalog
from perspectives.perspective import Perspective
from providers.base import Completion, Image, Options, PixelStatistics, ProviderConfig, VisionRequest
from providers.builtin import MODEL, SPEC, WARNING, BuiltinClient
from providers.errors import SchemaNotFillable
from providers.pool import Pool

ROOT = Path(__file__).parents[2]
LIBRARY = {perspective.name: perspective for perspective in catalog.load([catalog.LIBRARY]).all()}
CLIENT = BuiltinClient(ProviderConfig("builtin", "builtin"), Pool())
SENTENCE = (
    "Image of 64 × 48 pixels in landscape format; dominant colours: red 50.0%, blue 25.0%, white 25.0%; "
    "brightness 41.2%."
)
Schema = dict[str, Any]


def image(width: int = 64, height: int = 48, brightness: float = 0.412) -> Image:
    colours = (("red", 0.5), ("blue", 0.25), ("white", 0.25))
    return Image(b"", "image/jpeg", width, height, PixelStatistics(width, height, colours, brightness))


def request(schema: Schema | None, sent: Image | None = None, **options: Any) -> VisionRequest:
    return VisionRequest(MODEL, "Describe it.", 5, sent or image(), schema=schema, options=Options(**options))


async def answer(schema: Schema, sent: Image | None = None) -> Any:
    return json.loads((await CLIENT.complete(request(schema, sent))).text)


@pytest.fixture(params=sorted(LIBRARY))
def perspective(request: pytest.FixtureRequest) -> Perspective:
    return LIBRARY[request.param]


async def test_every_shipped_perspective_is_answered_validly_and_by_image(perspective: Perspective) -> None:
    schema = perspective.json_schema
    answers = [await answer(schema, image(*size)) for size in ((64, 48), (48, 64), (50, 50), (64, 49))]
    answers.append(await answer(schema, image(brightness=0.5)))
    for value in answers:
        assert jsonschema_rs.is_valid(schema, value, validate_formats=True)
    assert all(first != second for first, second in combinations(answers, 2))


OBJECT = {"type": "object", "properties": {"n": {"type": "string"}}, "required": ["n"]}
FIELDS: list[tuple[Any, Any]] = [
    ({"type": "string"}, SENTENCE),
    ({"type": "string", "maxLength": 5}, "Image"),
    ({"type": "string", "format": "date"}, "1970-01-01"),
    ({"type": "string", "pattern": "^#[0-9a-fA-F]{6}$"}, "#000000"),
    ({"type": "string", "pattern": "^(?:yes|no)$"}, "yes"),
    ({"type": "string", "pattern": "^(a+)+$"}, "a"),
    ({"enum": ["safe", "unsafe", "unknown"]}, "unknown"),
    ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.125),
    ({"type": "array", "items": {"type": "string"}}, [SENTENCE]),
    ({"type": "array", "items": OBJECT, "minItems": 1}, [{"n": SENTENCE}]),
    ({"type": "array", "items": {"type": "integer"}, "minItems": 3, "uniqueItems": True}, [0, 1, 2]),
    ({"type": "array", "prefixItems": [{"const": 1}, {"type": "null"}], "minItems": 2, "items": False}, [1, None]),
    ({"oneOf": [{"type": "integer", "multipleOf": 5}, {"type": "integer", "multipleOf": 3}]}, 5),
    ({"allOf": [{"type": "integer", "minimum": 2}, {"maximum": 9}, {"multipleOf": 4}]}, 4),
    ({"allOf": [{"type": "array", "items": {"const": 1}, "minItems": 2}, {"minItems": 1}]}, [1, 1]),
    ({"allOf": [{"type": "integer", "default": []}, {"default": True}, {"examples": [1]}]}, 0),
    ({"type": "integer", "oneOf": [{"if": {}}], "then": {"if": {}}}, 0),
    ({**OBJECT, "if": {"required": ["n"]}, "then": {"required": ["m"]}}, {"n": SENTENCE, "m": SENTENCE}),
    ({"type": "object", "properties": {"t": {"type": "string"}, "i": {"type": "integer"}}}, {"t": SENTENCE}),
]


@pytest.mark.parametrize(("schema", "expected"), FIELDS, ids=lambda value: json.dumps(value)[:60])
async def test_the_value_of_one_field(schema: Any, expected: Any) -> None:
    value = await answer({"type": "object", "properties": {"field": schema}, "required": ["field"]})
    assert value == {"field": expected}


DEEP: Schema = {"type": "integer", "minimum": 5, "maximum": 4}
for _ in range(7):
    DEEP = {"anyOf": [DEEP, DEEP, DEEP]}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": r"^[A-Z]{3}-\d{4}$"},
        {"type": "string", "minLength": 10**9},
        {"type": "integer", "minimum": 5, "maximum": 4},
        {"allOf": [{"const": []}, {"const": 1}]},
        {"type": "array", "items": {"enum": [1]}, "minItems": 2, "uniqueItems": True},
        False,
        DEEP,
    ],
    ids=lambda value: json.dumps(value)[:60],
)
async def test_a_field_without_a_known_value_is_named_quickly(schema: Any) -> None:
    inner = {"type": "object", "properties": {"field": schema}, "required": ["field"]}
    start = thread_time()  # CPU time of this thread: an exponential search would take minutes
    with pytest.raises(SchemaNotFillable, match="'/outer/field'"):
        await answer({"type": "object", "properties": {"outer": inner}, "required": ["outer"]})
    assert thread_time() - start < 10


async def test_warnings_about_ignored_options_and_images() -> None:
    plain = await CLIENT.complete(request(None))
    assert plain == Completion(SENTENCE, "measurements", warnings=(WARNING,))
    assert "pixels, not content" in WARNING
    assert "pixels" in SPEC.note
    ignored = await CLIENT.complete(request(None, temperature=0.7, top_p=0.9, max_tokens=1, seed=3))
    assert len(ignored.warnings) == 4
    assert "does not accept temperature" in ignored.warnings[2]
    without_image = await CLIENT.complete(VisionRequest(model="gpt-4o", prompt="", timeout=5))
    assert without_image.model == MODEL
    assert "measurements" in without_image.warnings[1]
    assert without_image.text == "No image was sent."
    unmeasured = VisionRequest(model=MODEL, prompt="", timeout=5, image=Image(b"", "image/png", 30, 20))
    assert (await CLIENT.complete(unmeasured)).text == "Image of 30 × 20 pixels."
