"""The provider that needs no model: it fills the schema and describes the image's pixels in one sentence.

It exists to try the service and to test clients without a key, a network or weights.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping

from providers.base import (
    NO_HEADERS,
    BaseClient,
    Completion,
    Credentials,
    Delta,
    Image,
    Model,
    Profile,
    ProviderConfig,
    Spec,
    VisionRequest,
)
from providers.errors import SchemaNotFillable
from providers.profiles import profile

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

    The same image and schema give the same answer. `Completion.usage` is None: there are no tokens. Raises
    SchemaNotFillable.
    """

    spec = SPEC

    def __init__(self, config: ProviderConfig) -> None:
        """Accept any configuration; nothing of it is used."""

    async def complete(self, request: VisionRequest) -> Completion:
        """Return the whole answer: JSON for a schema, one sentence without."""
        return await asyncio.to_thread(_complete, request)

    async def stream(self, request: VisionRequest) -> AsyncIterator[Delta | Completion]:
        """Yield the same answer in small pieces, as a model server would send it."""
        completion = await self.complete(request)
        for start in range(0, len(completion.text), _PIECE):
            yield Delta(completion.text[start : start + _PIECE])
        yield completion

    async def models(
        self, credentials: Credentials, timeout: float, headers: Mapping[str, str] = NO_HEADERS
    ) -> tuple[Model, ...]:
        """Return the only model."""
        return (Model(MODEL, "Pixel measurements"),)

    def profile(self, model: str) -> Profile:
        """Return that any image is accepted as it is: statistics travel beside the bytes."""
        return profile(SPEC.kind, model)


def _complete(request: VisionRequest) -> Completion:
    sentence = describe(request.image)
    return Completion(
        text=sentence if request.schema is None else json.dumps(_fill(request, sentence), ensure_ascii=False),
        model=MODEL,
        warnings=(WARNING, *_ignored(request)),
    )


def _fill(request: VisionRequest, sentence: str) -> object:
    from providers.filler import CannotFill, fill

    assert request.schema is not None
    try:
        return fill(request.schema, sentence)
    except CannotFill as error:
        raise SchemaNotFillable(error.pointer) from None


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
