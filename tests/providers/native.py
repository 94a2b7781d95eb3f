"""What the tests of the two native clients share: a request, a picture, a schema, a whole stream."""

import io
from dataclasses import replace
from random import Random
from typing import Any

from PIL import Image as Pillow

from providers.base import BaseClient, Completion, Credentials, Delta, Image, Options, VisionRequest

EVERY_OPTION = Options(max_tokens=300, temperature=0.25, top_p=0.75, repetition_penalty=1.125, seed=7)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "seen": {"type": "string", "description": "What stands in front."},
        "boats": {"type": "integer", "minimum": 0, "maximum": 9},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
    },
    "required": ["seen", "boats", "tags"],
    "additionalProperties": False,
}


def jpeg(side: int = 48) -> bytes:
    """Noise: its base64 holds every character of the alphabet."""
    noise = Pillow.frombytes("RGB", (side, side), Random(3).randbytes(3 * side * side))
    file = io.BytesIO()
    noise.save(file, "JPEG", quality=95)
    return file.getvalue()


def asked(model: str, **changes: Any) -> VisionRequest:
    request = VisionRequest(
        model=model,
        prompt="Describe the picture.",
        timeout=10,
        image=Image(jpeg(), "image/jpeg", 48, 48),
        system="You look closely.",
        schema=SCHEMA,
    )
    return replace(request, **changes)


def with_key(key: str) -> Credentials:
    return Credentials(key)


async def streamed(client: BaseClient, request: VisionRequest) -> tuple[list[str], Completion]:
    """The deltas, and the Completion that must come last."""
    *deltas, last = [part async for part in client.stream(request)]
    assert isinstance(last, Completion)
    assert all(isinstance(part, Delta) for part in deltas)
    return [part.text for part in deltas], last


async def answer(client: BaseClient, request: VisionRequest, door: str) -> Completion:
    """The Completion, through either door."""
    return await client.complete(request) if door == "complete" else (await streamed(client, request))[1]
