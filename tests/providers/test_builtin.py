"""The provider that only measures: it says what it is, tells pictures apart and recognises nothing."""

import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest

from perspectives import render
from perspectives.perspective import Perspective
from providers.base import Completion, Credentials, Delta, Image, VisionRequest
from providers.builtin import MODEL, SPEC, WARNING
from providers.measurements import Camera, Measurements
from tests.providers.measured import ANY, CLIENT, IMAGES, LIBRARY, ROOT, JsonObject, answer, one, request, text


@pytest.fixture(params=sorted(LIBRARY), ids=str)
def perspective(request: pytest.FixtureRequest) -> Perspective:
    return LIBRARY[request.param]


async def test_every_shipped_perspective_is_filled_validly_and_differently(perspective: Perspective) -> None:
    schema = perspective.validator
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
        for schema, chosen in choices(perspective.json_schema, value):
            assert chosen == "unknown" or "unknown" not in schema["enum"]


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


async def test_the_same_seed_says_the_same_and_the_next_one_says_it_otherwise(perspective: Perspective) -> None:
    for image in IMAGES.values():
        seeds = [await answer(perspective.json_schema, image, seed=seed) for seed in (1, 2, -3)]
        assert seeds[0] == await answer(perspective.json_schema, image, seed=1)
        assert render.caption(perspective, seeds[0]) != render.caption(perspective, seeds[1])
        perspective.validator.validate(seeds[2])


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
    assert [model.id for model in await CLIENT.models(Credentials(), 1)] == ["measurements"]
    check = await CLIENT.check(Credentials(), 1, MODEL)
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
    LIBRARY["graph_caption"].validator.validate(value)
    assert value["tags_list"] == []
    assert ("30 × 20" if image else "No picture was given") in value["dense_caption"]
    for shipped in LIBRARY.values():
        shipped.validator.validate(await answer(shipped.json_schema, image))


async def test_an_upright_picture_is_called_no_portrait() -> None:
    """In a sentence that would be a picture of a person."""
    upright = [
        image for image in IMAGES.values() if image.measurements and image.measurements.orientation == "portrait"
    ]
    assert upright
    for image in upright:
        for seed in range(8):
            for name in ("alt_text", "graph_caption"):
                assert "portrait picture" not in text(await answer(LIBRARY[name].json_schema, image, seed=seed))
        said = [(await CLIENT.complete(request(None, image, seed=seed))).text for seed in range(8)]
        assert not [one for one in said if "portrait" in one]
        assert [one for one in said if "upright" in one]


MEASURED_AT = Camera("NIKON", "NIKON D750", 0.005, 4.0, 100, 50.0, "2019-05-03T14:20:00")


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
    return replace(found, camera=MEASURED_AT)


def test_no_pixel_library_is_loaded() -> None:
    loaded = "import sys, providers.builtin; print('PIL' in sys.modules, 'numpy' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT.parent, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]
