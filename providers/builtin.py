"""The provider that needs no model: it fills the schema and describes the image's pixels in one sentence.

It exists to try the service and to test clients without a key, a network or weights.
"""

import asyncio
import json
from collections.abc import AsyncGenerator

from providers.base import BaseClient, Completion, Delta, Image, Model, ProviderConfig, Spec, VisionRequest
from providers.errors import SchemaNotFillable
from providers.pool import Pool

MODEL = "measurements"
WARNING = "builtin describes pixels, not content. Choose a vision model for a real description."
SPEC = Spec(
    kind="builtin",
    title="Built-in measurements",
    takes=frozenset({"seed"}),
    default_model=MODEL,
    note="Describes pixels (size, colours, brightness), not content. Needs no key, no network and no weights.",
)
_PIECE = 48  # characters of a streamed delta


class BuiltinClient(BaseClient):
    """Answer from `request.image.statistics`; the image's bytes and the prompt are not read.

    The same image and schema give the same answer. `Completion.usage` is always None. Raises
    SchemaNotFillable.
    """

    spec = SPEC

    def __init__(self, config: ProviderConfig, pool: Pool) -> None:
        """Accept any configuration; nothing of it is used."""

    async def complete(self, request: VisionRequest) -> Completion:
        """Return the complete answer: JSON for a schema, one sentence without."""
        return await asyncio.to_thread(_complete, request)

    async def _stream(self, request: VisionRequest) -> AsyncGenerator[Delta | Completion]:
        """Yield the same answer in small pieces, as a model server would send it."""
        completion = await self.complete(request)
        for start in range(0, len(completion.text), _PIECE):
            yield Delta(completion.text[start : start + _PIECE])
        yield completion

    async def _models(self, request: VisionRequest) -> tuple[Model, ...]:
        """Return the only model."""
        return (Model(MODEL, "Pixel measurements"),)


def _complete(request: VisionRequest) -> Completion:
    from providers.filler import CannotFill, fill

    text = describe(request.image)
    if request.schema is not None:
        try:
            text = json.dumps(fill(request.schema, text), ensure_ascii=False)
        except CannotFill as error:
            raise SchemaNotFillable(error.pointer) from None
    return Completion(text, MODEL, warnings=(WARNING, *_ignored(request)))


def describe(image: Image | None) -> str:
    """Return one sentence about size, orientation, dominant colours and brightness."""
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


def _ignored(request: VisionRequest) -> tuple[str, ...]:
    """Return a warning for every part of the request that has no effect."""
    names = [name for name in request.options.present() if name not in SPEC.takes]
    warnings = [f"builtin ignores {', '.join(names)}."] if names else []
    if request.model not in ("", MODEL):
        warnings.append(f"builtin has only the model {MODEL}, which answered.")
    return tuple(warnings)
