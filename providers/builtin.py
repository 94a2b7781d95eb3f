"""The provider that is always there: it writes what was measured of a picture into any schema.

No key, no network, no weights. It recognises nothing and says so in every answer.
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
from providers.measurements import Measurements
from providers.profiles import profile
from providers.writing.field import Field
from providers.writing.fill import Filling
from providers.writing.scene import Scene, Voice

MODEL = "measurements"
SPEC = Spec(
    kind="builtin",
    title="Built-in measurements",
    takes=frozenset({"seed"}),
    default_model=MODEL,
    note="Measures size, colour, light and composition; recognises nothing. Needs no key, no network and no weights.",
)
WARNING = "builtin measures pixels and recognises nothing; choose a vision model for a real description."
_PIECE = 48  # characters of a streamed delta


class BuiltinClient(BaseClient):
    """Answers from `request.image.measurements`; the image's bytes and the prompt are not read.

    The same picture, schema and seed give the same answer; another seed gives other words. `Completion.usage` is
    None: no tokens are read or written. Raises RequestRejected for a schema that it cannot fill.
    """

    spec = SPEC

    def __init__(self, config: ProviderConfig) -> None:
        """Nothing of the configuration is used."""

    async def complete(self, request: VisionRequest) -> Completion:
        """Write the whole answer: JSON for a schema, a sentence or two without one."""
        return await asyncio.to_thread(_completion, request)

    async def stream(self, request: VisionRequest) -> AsyncIterator[Delta | Completion]:
        """The same answer in small pieces, as a model server would send it."""
        completion = await self.complete(request)
        for start in range(0, len(completion.text), _PIECE):
            yield Delta(completion.text[start : start + _PIECE])
        yield completion

    async def models(
        self, credentials: Credentials, timeout: float, headers: Mapping[str, str] = NO_HEADERS
    ) -> tuple[Model, ...]:
        """The one model there is."""
        return (Model(MODEL, "Pixel measurements"),)

    def profile(self, model: str) -> Profile:
        """Any picture as it is: the measurements travel beside the bytes."""
        return profile(SPEC.kind, model)


def _completion(request: VisionRequest) -> Completion:
    scene = _scene(request.image, request.options.seed)
    filling = Filling(scene, _blank(request.image))
    field = Field(description="" if request.schema is None else str(request.schema.get("description") or ""))
    answer = filling.value(request.schema or {"type": "string"}, field)
    text = answer if request.schema is None else json.dumps(answer, ensure_ascii=False)
    return Completion(text=text, model=MODEL, warnings=(WARNING, *_ignored(request), *_guesses(filling.guessed)))


def _scene(image: Image | None, seed: int | None) -> Scene | None:
    measured: Measurements | None = image.measurements if image else None
    if measured is None or not measured.palette:
        return None
    return Scene(measured, Voice(seed, measured.digest))


def _blank(image: Image | None) -> str:
    if image is None:
        return "No picture was given, so nothing could be measured."
    return f"A picture of {image.width} × {image.height} pixels, of which nothing else was measured."


def _ignored(request: VisionRequest) -> tuple[str, ...]:
    """What was asked for and has no effect."""
    given = [name for name in request.options.present() if name not in SPEC.takes]
    told = [f"builtin cannot take {', '.join(given)}; its answer does not depend on them."] if given else []
    if request.model not in ("", MODEL):
        told.append(f"builtin has the one model {MODEL}, which answered.")
    return tuple(told)


def _guesses(paths: list[str]) -> tuple[str, ...]:
    if not paths:
        return ()
    named = ", ".join(paths[:8]) + (" and others" if len(paths) > 8 else "")
    return (f"Measurements do not tell {named}; the schema demands a value, so the one there means nothing.",)
