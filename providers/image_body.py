"""Serialise request bodies, and insert the image's base64 into the serialised body.

The JSON encoder never sees the image: json.dumps takes 1.6 ms per MB of base64, replacing a placeholder 0.05 ms.
"""

import json
from secrets import token_bytes

from pybase64 import b64encode

from providers.base import Image, JsonObject

PLACEHOLDER = token_bytes(24)
"""Placeholder for the image's bytes until the request is sent. Random, so that no prompt contains the placeholder."""
PLACEHOLDER_BASE64 = b64encode(PLACEHOLDER).decode()


def insert_image(body: bytes, image: Image) -> bytes:
    """Return the serialised body with the placeholder replaced by the image."""
    return body.replace(PLACEHOLDER_BASE64.encode(), image.base64, 1)


def serialise(body: JsonObject, image: Image | None) -> bytes:
    """Return the body as JSON, with the placeholder replaced by the image."""
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return content if image is None else insert_image(content, image)
