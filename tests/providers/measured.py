"""Measured pictures, and the builtin provider asked about them."""

import json
from pathlib import Path
from typing import Any

from PIL import Image as Pixels
from PIL import ImageDraw, ImageFilter

import perspectives
from bridge.images.measure import measure
from perspectives import catalog, compile_schema
from providers.base import Image, Options, ProviderConfig, VisionRequest
from providers.builtin import MODEL, BuiltinClient
from providers.writing.field import Field
from providers.writing.fill import Filling
from providers.writing.scene import Scene, Voice
from tests.images.pictures import photo, saved

ROOT = Path(perspectives.__file__).parent
SAMPLES = sorted((ROOT.parent / "workspace" / "datasets" / "samples").glob("*.jpg"))
CLIENT = BuiltinClient(ProviderConfig("builtin", "builtin"))
JsonObject = dict[str, Any]


def flag() -> Pixels.Image:
    """Half of it red, over blue and white."""
    picture = Pixels.new("RGB", (64, 48), (220, 20, 20))
    picture.paste((20, 20, 220), (0, 24, 32, 48))
    picture.paste((255, 255, 255), (32, 24, 64, 48))
    return picture


def pictures() -> dict[str, bytes]:
    """The sample photos, and pictures at the edges of what can be measured."""
    disc = Pixels.new("RGBA", (90, 200), (0, 0, 0, 0))
    ImageDraw.Draw(disc).ellipse((20, 30, 70, 90), fill=(200, 60, 160, 255))
    made = {
        "flag": flag(),
        "red": Pixels.new("RGB", (64, 64), (255, 0, 0)),
        "gradient": Pixels.linear_gradient("L").resize((500, 120)),
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
ANY = IMAGES["flag"]
LIBRARY = {perspective.name: perspective for perspective in catalog.load([catalog.LIBRARY]).all()}


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


def fill(schema: JsonObject, key: str, seed: int | None = None) -> Any:
    found = IMAGES[key].measurements
    assert found is not None
    return Filling(Scene(found, Voice(seed, found.digest)), "").value(schema, Field())
