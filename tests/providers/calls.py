"""A request with an image, and the two ways to send it."""

import io
from dataclasses import replace
from random import Random
from typing import Any

from PIL import Image as Pillow

from providers.base import Completion, Image, VisionRequest
from providers.client import BaseClient

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"seen": {"type": "string", "description": "What is in front."}, "boats": {"type": "integer"}},
    "required": ["seen", "boats"],
    "additionalProperties": False,
}


def jpeg(side: int = 48) -> bytes:
    """Return an image of noise: its base64 has every character of the alphabet."""
    noise = Pillow.frombytes("RGB", (side, side), Random(3).randbytes(3 * side * side))
    file = io.BytesIO()
    noise.save(file, "JPEG", quality=95)
    return file.getvalue()


def make_request(model: str = "tiny-vision", **changes: Any) -> VisionRequest:
    image = Image(jpeg(), "image/jpeg", 48, 48)
    return replace(VisionRequest(model, "Describe the image.", 60, image=image, schema=SCHEMA), **changes)


async def stream(client: BaseClient, request: VisionRequest) -> Completion:
    """Return the Completion at the end of a stream."""
    *_, last = [chunk async for chunk in client.stream(request)]
    assert isinstance(last, Completion)
    return last


async def send(client: BaseClient, request: VisionRequest, streamed: bool) -> Completion:
    return await (stream(client, request) if streamed else client.complete(request))
