"""The built-in provider, which needs no model: it fills the schema with one sentence about the image's pixels."""

import asyncio
import json
from collections.abc import AsyncGenerator

from providers.base import Completion, Delta, Image, Model, Spec, VisionRequest
from providers.client import BaseClient

MODEL = "measurements"
WARNING = "builtin describes pixels, not content. Choose a vision model for a real description."
SPEC = Spec(
    kind="builtin",
    title="Built-in measurements",
    is_remote=False,
    takes=frozenset({"seed"}),
    default_model=MODEL,
    note="Describes pixels (size, colours, brightness), not content. Needs no key, no network and no weights.",
)
_PIECE = 48  # characters in one streamed Delta


class BuiltinClient(BaseClient):
    """Answers from the image's statistics, always alike for one image and schema. Calls raise SchemaNotFillable."""

    specs = (SPEC,)

    async def complete(self, request: VisionRequest) -> Completion:
        """Return the complete answer: JSON if the request has a schema, otherwise one sentence."""
        return await asyncio.to_thread(_complete, request)

    async def _stream(self, request: VisionRequest) -> AsyncGenerator[Delta | Completion]:
        completion = await self.complete(request)
        for start in range(0, len(completion.text), _PIECE):
            yield Delta(completion.text[start : start + _PIECE])
        yield completion

    async def _models(self, request: VisionRequest) -> tuple[Model, ...]:
        return (Model(MODEL, "Pixel measurements"),)


def _complete(request: VisionRequest) -> Completion:
    from providers.filler import fill

    text = describe(request.image)
    if request.schema is not None:
        text = json.dumps(fill(request.schema, text), ensure_ascii=False)
    return Completion(text, MODEL, warnings=_warnings(request))


def describe(image: Image | None) -> str:
    """Return one sentence about the image's size, orientation, dominant colours and brightness."""
    if image is None:
        return "No image was sent."
    statistics = image.statistics
    if statistics is None:
        return f"Image of {image.width} × {image.height} pixels."
    width, height = statistics.width, statistics.height
    shape = "square" if width == height else "landscape" if width > height else "portrait"
    colours = ", ".join(f"{name} {share:.1%}" for name, share in statistics.colours)
    return (
        f"Image of {width} × {height} pixels in {shape} format; dominant colours: {colours}; "
        f"brightness {statistics.brightness:.1%}."
    )


def _warnings(request: VisionRequest) -> tuple[str, ...]:
    other = (f"builtin has only the model {MODEL}, which answered.",) if request.model not in ("", MODEL) else ()
    return (WARNING, *SPEC.unsupported(request.options), *other)
