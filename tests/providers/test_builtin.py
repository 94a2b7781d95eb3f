"""The provider that only measures: any schema filled validly, different pictures told apart, nothing recognised."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pixels
from PIL import ImageDraw, ImageFilter

import perspectives
from bridge.images.measure import measure
from perspectives import InvalidPerspective, catalog, compile_schema, render
from perspectives.formats import FORMATS
from perspectives.perspective import Perspective
from providers.base import Completion, Credentials, Delta, Image, Options, ProviderConfig, VisionRequest
from providers.builtin import MODEL, SPEC, WARNING, BuiltinClient
from providers.colours import name
from providers.errors import RequestRejected
from providers.measurements import Camera, Measurements
from providers.writing.field import Field
from providers.writing.fill import Filling
from providers.writing.patterns import Unwritable, example, matches
from providers.writing.scene import Scene, Voice
from tests.images.pictures import photo, quarters, saved

ROOT = Path(perspectives.__file__).parent
SAMPLES = sorted((ROOT.parent / "workspace" / "datasets" / "samples").glob("*.jpg"))
CLIENT = BuiltinClient(ProviderConfig("builtin", "builtin"))
CREDENTIALS = Credentials()
JsonObject = dict[str, Any]


def pictures() -> dict[str, bytes]:
    """The sample photos, and pictures at the edges of what can be measured."""
    disc = Pixels.new("RGBA", (90, 200), (0, 0, 0, 0))
    ImageDraw.Draw(disc).ellipse((20, 30, 70, 90), fill=(200, 60, 160, 255))
    made = {
        "red": Pixels.new("RGB", (64, 64), (255, 0, 0)),
        "gradient": Pixels.linear_gradient("L").resize((500, 120)),
        "quarters": quarters(),
        "noise": photo(),
        "soft": photo().filter(ImageFilter.GaussianBlur(9)).rotate(90),
        "disc": disc,
    }
    return {path.stem: path.read_bytes() for path in SAMPLES} | {key: saved(one, "PNG") for key, one in made.items()}


IMAGES = {
    key: Image(data, "image/png", found.width, found.height, found)
    for key, data in pictures().items()
    if (found := measure(data))
}
ANY = IMAGES["quarters"]
LIBRARY = {perspective.name: perspective for perspective in catalog.load([catalog.LIBRARY]).all()}
MEASURED_AT = Camera("NIKON", "NIKON D750", 0.005, 4.0, 100, 50.0, "2019-05-03T14:20:00")


def request(schema: JsonObject | None, image: Image | None = ANY, **options: Any) -> VisionRequest:
    return VisionRequest(
        model=MODEL, prompt="Describe it.", timeout=5, image=image, schema=schema, options=Options(**options)
    )


async def answer(schema: JsonObject, image: Image | None = ANY, **options: Any) -> Any:
    return json.loads((await CLIENT.complete(request(schema, image, **options))).text)


async def one(schema: JsonObject, key: str = "it", image: Image | None = ANY, **options: Any) -> Any:
    """What a single required field is filled with; the answer is held to the schema."""
    whole = {"type": "object", "properties": {key: schema}, "required": [key]}
    compiled = compile_schema(whole)
    return compiled.validate(await answer(compiled.json_schema, image, **options))[key]


def text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


@pytest.fixture(params=sorted(LIBRARY), ids=str)
def perspective(request: pytest.FixtureRequest) -> Perspective:
    return LIBRARY[request.param]


async def test_every_shipped_perspective_is_filled_validly_and_differently(perspective: Perspective) -> None:
    schema = perspective.compiled
    answers = {key: await answer(schema.json_schema, image) for key, image in IMAGES.items()}
    for value in answers.values():
        assert schema.validate(value) == value
    for (first, some), (second, other) in combinations(answers.items(), 2):
        assert some != other, (first, second)
        assert render.caption(perspective, some) != render.caption(perspective, other), (first, second)


async def test_nothing_is_judged_and_nothing_recognised(perspective: Perspective) -> None:
    """Every choice that a shipped schema offers beside "unknown" is left alone."""
    for image in IMAGES.values():
        value = await answer(perspective.json_schema, image)
        for schema, given in choices(perspective.json_schema, value):
            assert given == "unknown" or "unknown" not in schema["enum"]


def choices(schema: JsonObject, value: Any) -> list[tuple[JsonObject, Any]]:
    """Every enum in a schema with what was chosen."""
    if "enum" in schema:
        return [(schema, value)]
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        return [found for key, inner in value.items() for found in choices(properties.get(key, {}), inner)]
    if isinstance(value, list):
        return [found for inner in value for found in choices(schema.get("items", {}), inner)]
    return []


async def test_the_same_seed_says_the_same_and_another_seed_says_it_otherwise(perspective: Perspective) -> None:
    schema = perspective.json_schema
    by_seed = [text(await answer(schema, seed=seed)) for seed in (None, 1, 2, 3, 4, 5)]
    assert by_seed[1] == text(await answer(schema, seed=1))
    assert len(set(by_seed)) > 1


async def test_the_answer_says_what_it_is() -> None:
    completion = await CLIENT.complete(request(LIBRARY["alt_text"].json_schema))
    assert (completion.model, completion.usage, completion.warnings) == ("measurements", None, (WARNING,))
    assert "recognises nothing" in WARNING


async def test_options_that_have_no_effect_are_named_once() -> None:
    completion = await CLIENT.complete(request(None, temperature=0.7, top_p=0.9, max_tokens=1, seed=3))
    assert len(completion.warnings) == 2
    assert all(name in completion.warnings[1] for name in ("temperature", "top_p", "max_tokens"))
    assert "seed" not in completion.warnings[1]
    assert SPEC.takes == {"seed"}


async def test_another_models_name_is_answered_with_a_warning() -> None:
    asked = VisionRequest(model="gpt-4o", prompt="", timeout=5, image=ANY)
    completion = await CLIENT.complete(asked)
    assert completion.model == MODEL
    assert "measurements" in completion.warnings[1]


async def test_a_stream_is_the_answer_in_pieces() -> None:
    asked = request(LIBRARY["graph_caption"].json_schema)
    events = [event async for event in CLIENT.stream(asked)]
    pieces = [event.text for event in events if isinstance(event, Delta)]
    assert all(1 <= len(piece) <= 64 for piece in pieces)
    assert events[-1] == await CLIENT.complete(asked)
    assert isinstance(events[-1], Completion)
    assert "".join(pieces) == events[-1].text
    assert len(pieces) > 10


async def test_connection_models_and_profile() -> None:
    assert [model.id for model in await CLIENT.models(CREDENTIALS, 1)] == ["measurements"]
    check = await CLIENT.check(CREDENTIALS, 1, MODEL)
    assert [(step.step, step.status) for step in check.steps] == [
        ("initialize_client", "success"),
        ("list_models", "success"),
        ("test_chat_completion", "success"),
    ]
    profile = CLIENT.profile(MODEL).image
    assert {"image/jpeg", "image/png", "image/webp", "image/gif"} <= profile.media_types
    assert (profile.size, profile.max_side, profile.max_bytes) == (None, None, None)


async def test_without_a_schema_it_answers_in_sentences() -> None:
    plain = (await CLIENT.complete(request(None))).text
    assert plain.endswith(".")
    assert any(colour in plain.lower() for colour in ("red", "green", "blue", "white"))


@pytest.mark.parametrize(
    "image", [None, Image(b"", "image/png", 30, 20), Image(b"", "image/png", 30, 20, Measurements(30, 20))]
)
async def test_without_measurements_it_says_so(image: Image | None) -> None:
    value = await answer(LIBRARY["graph_caption"].json_schema, image)
    LIBRARY["graph_caption"].compiled.validate(value)
    assert value["tags_list"] == []
    assert ("30 × 20" if image else "No picture was given") in value["dense_caption"]
    for shipped in LIBRARY.values():
        shipped.compiled.validate(await answer(shipped.json_schema, image))


async def test_the_camera_is_told() -> None:
    assert ANY.measurements is not None
    image = Image(b"", "image/jpeg", 64, 48, with_camera(ANY.measurements))
    told = await answer(LIBRARY["style_preset"].json_schema, image)
    assert "NIKON D750, 1/200 s, f/4, ISO 100, 50 mm" in told["camera_and_film"]
    clues = await answer(LIBRARY["time_tags"].json_schema, image)
    assert "3 May 2019" in text(clues["time_tags"])
    assert await one({"type": "string", "format": "date"}, "day", image) == "2019-05-03"
    assert await one({"type": ["integer", "null"]}, "iso", image) == 100


def with_camera(found: Measurements) -> Measurements:
    from dataclasses import replace

    return replace(found, camera=MEASURED_AT)


@pytest.mark.parametrize(
    ("key", "schema", "expected"),
    [
        ("verdict", {"enum": ["safe", "unsafe", "unknown"]}, "unknown"),
        ("verdict", {"enum": ["safe", "cannot_tell"]}, "cannot_tell"),
        ("verdict", {"enum": ["Safe", "Unsafe", None]}, None),
        ("verdict", {"enum": ["safe", "needs_review", "unsafe"]}, "needs_review"),
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
        ("aspect_ratio", {"type": "number"}, 1.333),
        ("people_count", {"type": ["integer", "null"], "minimum": 0}, None),
        ("hex", {"type": "string", "pattern": "^#[0-9a-f]{6}$"}, "#dc1414"),
        ("brand", {"type": "string"}, ""),
        ("people", {"type": "array", "items": {"type": "string"}}, []),
        ("colours", {"type": "array", "items": {"type": "string"}, "maxItems": 1}, ["red"]),
        ("colors", {"type": "array", "items": {"enum": ["red", "pink", "green"]}}, ["red", "green"]),
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
    assert {swatch["name"] for swatch in found} == {"red", "bright green", "blue", "white"}
    red = next(swatch for swatch in found if swatch["name"] == "red")
    assert (red["hex"], red["rgb"], red["share"]) == ("#dc1414", [220, 20, 20], 25)


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


@pytest.mark.parametrize("pattern", ["^(?=a)b$", "^[^\\s\\S]$", "\\p{Han}{3}", "^x$|("])
async def test_a_pattern_that_cannot_be_met_is_refused_by_name(pattern: str) -> None:
    schema = {"type": "object", "properties": {"code": {"type": "string", "pattern": pattern}}, "required": ["code"]}
    with pytest.raises(RequestRejected) as caught:
        await CLIENT.complete(request(schema))
    assert "'/code'" in caught.value.message


PATTERNS = (
    "^[a-z_]+$",
    "^#[0-9A-F]{6}$",
    "^\\d{4}-\\d{2}-\\d{2}$",
    "^(left|right)$",
    "^[A-Z]{2,3}-\\d+$",
    "^(?:[a-z]+, )*[a-z]+$",
    "^\\S+@\\S+\\.[a-z]{2,}$",
    "^[^a-z ]{3}$",
    "colou?r",
    "^.{10,12}$",
    "^$",
    "(?i)^ISO \\w+$",
    "^(a+)+$",
    "^\\[\\d, \\d\\]$",
)


@pytest.mark.parametrize("pattern", PATTERNS)
async def test_patterns_are_met(pattern: str) -> None:
    assert matches(pattern, await one({"type": "string", "pattern": pattern}, "code"))
    repeated = await one({"type": "array", "items": {"type": "string", "pattern": pattern}, "minItems": 2}, "codes")
    assert len(repeated) == 2


@pytest.mark.parametrize("pattern", PATTERNS)
def test_an_example_of_a_pattern_matches_it(pattern: str) -> None:
    made = []
    for repeats in (1, 2, 8):
        made.append(example(pattern, repeats))
    assert any(matches(pattern, one) for one in made)


@given(st.text(alphabet="ab[](){}|?*+.^$\\dw-,0189", max_size=14))
@settings(max_examples=150, deadline=None)
def test_any_pattern_is_read_or_left(pattern: str) -> None:
    try:
        made = example(pattern, 2)
    except Unwritable:
        return
    assert isinstance(made, str)


NAMES = st.sampled_from(
    [
        "caption",
        "title",
        "colours",
        "palette",
        "tags",
        "objects",
        "box",
        "light",
        "mood",
        "camera",
        "motion",
        "text",
        "people",
        "count",
        "confidence",
        "score",
        "id",
        "label",
        "beat_2",
        "description",
        "hex",
        "width",
        "is_safe",
        "rating",
        "when",
        "where",
        "story",
        "x",
        "y",
        "anything",
    ]
)
BOUNDS = st.integers(-40, 40)


@st.composite
def strings(draw: st.DrawFn) -> JsonObject:
    low = draw(st.integers(0, 30))
    node: JsonObject = draw(
        st.sampled_from(
            [
                {"type": "string"},
                {"type": "string", "minLength": low},
                {"type": "string", "maxLength": low},
                {"type": "string", "minLength": low, "maxLength": low + 3},
                {"type": ["string", "null"], "maxLength": 40},
            ]
        )
    )
    if draw(st.integers(0, 5)) == 0:
        node = {"type": "string", "pattern": draw(st.sampled_from(PATTERNS))}
    elif draw(st.integers(0, 5)) == 0:
        node = {"type": "string", "format": draw(st.sampled_from(sorted(FORMATS)))}
    return node


@st.composite
def numbers(draw: st.DrawFn) -> JsonObject:
    low, span = draw(BOUNDS), draw(st.integers(3, 60))
    kind = draw(st.sampled_from(["integer", "number"]))
    words: JsonObject = draw(
        st.sampled_from(
            [
                {},
                {"minimum": low},
                {"maximum": low},
                {"exclusiveMinimum": low, "exclusiveMaximum": low + span},
                {"minimum": low, "maximum": low + span, "multipleOf": draw(st.sampled_from([1, 3, 0.5, 0.1, 0.25]))},
                {"exclusiveMinimum": low + 0.25, "multipleOf": 7},
            ]
        )
    )
    return {"type": kind, **words}


LEAVES = st.one_of(
    strings(),
    numbers(),
    st.just({"type": "boolean"}),
    st.just({}),
    st.just({"type": "object"}),
    st.lists(st.text(max_size=4), min_size=1, max_size=4, unique=True).map(lambda values: {"enum": values}),
    st.sampled_from([{"const": 3}, {"const": None}, {"enum": [1, 2.5, 7]}, {"enum": [None, True]}]),
)


def lists(inner: st.SearchStrategy[JsonObject]) -> st.SearchStrategy[JsonObject]:
    return st.builds(
        lambda items, low, span: {"type": "array", "items": items, "minItems": low, "maxItems": low + span},
        inner,
        st.integers(0, 4),
        st.integers(0, 3),
    )


def objects(inner: st.SearchStrategy[JsonObject]) -> st.SearchStrategy[JsonObject]:
    def build(properties: JsonObject, left_out: set[str], others: Any) -> JsonObject:
        node = {"type": "object", "properties": properties, "required": sorted(set(properties) - left_out)}
        return node if others is None else {**node, "additionalProperties": others}

    properties = st.dictionaries(NAMES, inner, min_size=1, max_size=5)
    return st.builds(
        build, properties, st.sets(NAMES, max_size=6), st.sampled_from([None, True, False, {"type": "string"}])
    )


def unions(inner: st.SearchStrategy[JsonObject]) -> st.SearchStrategy[JsonObject]:
    return st.lists(inner | st.just({"type": "null"}), min_size=1, max_size=3).map(lambda branches: {"anyOf": branches})


NODES = st.recursive(LEAVES, lambda inner: st.one_of(lists(inner), objects(inner), unions(inner)), max_leaves=10)
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def fill(schema: JsonObject, key: str, seed: int | None = None) -> Any:
    found = IMAGES[key].measurements
    assert found is not None
    return Filling(Scene(found, Voice(seed, found.digest)), "").value(schema, Field())


@QUICK
@given(objects(NODES), st.sampled_from(sorted(IMAGES)), st.integers(0, 3))
def test_any_schema_is_filled_validly(schema: JsonObject, key: str, seed: int) -> None:
    try:
        compiled = compile_schema(schema)
    except InvalidPerspective:
        return
    value = fill(compiled.json_schema, key, seed)
    assert compiled.validate(value) == value
    assert fill(compiled.json_schema, key, seed) == value


@QUICK
@given(NODES, st.integers(0, 5), st.sampled_from(sorted(IMAGES)))
def test_distinct_items_are_distinct_or_refused(inner: JsonObject, least: int, key: str) -> None:
    many = {"type": "array", "items": inner, "minItems": least, "uniqueItems": True}
    try:
        compiled = compile_schema({"type": "object", "properties": {"tags": many}, "required": ["tags"]})
    except InvalidPerspective:
        return
    try:
        value = fill(compiled.json_schema, key)
    except RequestRejected as refusal:
        assert "different items" in refusal.message
        return
    assert compiled.validate(value) == value


@pytest.mark.parametrize(
    "inner",
    [
        {"type": "string", "maxLength": 6},
        {"type": "integer", "minimum": 1, "maximum": 40},
        {"type": "number", "minimum": 0, "maximum": 1},
        {"type": "object", "properties": {"tag": {"type": "string"}}, "required": ["tag"]},
        {"enum": list(range(50))},
        {"type": ["string", "null"]},
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
    ],
)
async def test_distinct_items_are_found(inner: JsonObject) -> None:
    assert len(await one({"type": "array", "items": inner, "minItems": 40, "uniqueItems": True}, "things")) >= 40


async def test_too_few_distinct_items_are_refused_by_name() -> None:
    schema = {"type": "array", "items": {"type": "boolean"}, "minItems": 3, "uniqueItems": True}
    with pytest.raises(RequestRejected, match="'/flags'"):
        await one(schema, "flags")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("ff0000", "bright red"),
        ("000000", "black"),
        ("ffffff", "white"),
        ("808080", "grey"),
        ("000080", "cobalt blue"),
        ("f5f5dc", "cream white"),
        ("8b4513", "brown"),
        ("808000", "olive green"),
        ("2f4f4f", "dark teal"),
    ],
)
def test_colours_have_the_names_that_people_give_them(code: str, expected: str) -> None:
    red, green, blue = bytes.fromhex(code)
    assert name((red, green, blue)).name == expected


def test_greys_are_never_given_a_colour() -> None:
    families = {name((level, level, level)).family for level in range(256)}
    assert families == {"black", "grey", "white"}
