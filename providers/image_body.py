"""Insert an image's base64 into a request body that is already serialised.

This is faster than serialising the image, because a JSON encoder inspects every character of a string: json.dumps
takes 1.6 ms per MB of base64, replacing a placeholder in the serialised body takes 0.05 ms.
"""

from secrets import token_bytes

from pybase64 import b64encode_as_string

from providers.base import Image

PLACEHOLDER = token_bytes(24)
"""Placeholder for the image's bytes until the request is sent. Random, so that no prompt contains the placeholder."""
PLACEHOLDER_BASE64 = b64encode_as_string(PLACEHOLDER)


def insert_image(body: bytes, image: Image) -> bytes:
    """Return the body with the placeholder replaced by the image."""
    return body.replace(PLACEHOLDER_BASE64.encode("ascii"), image.base64.encode("ascii"), 1)
