"""A picture's place in a request: the body is written around it, and its text goes in last.

A JSON encoder looks at every character of a string, and a picture has millions that need no look: json.dumps takes
1.6 ms for each MB, putting the text into a body that is written 0.05 ms.
"""

from secrets import token_bytes

from pybase64 import b64encode_as_string

from providers.base import Image

PLACE = token_bytes(24)
"""Stands for a picture's bytes until its call leaves: nothing that a prompt could hold."""
PLACE_TEXT = b64encode_as_string(PLACE)
"""The same in base64."""


def with_picture(body: bytes, image: Image) -> bytes:
    """The body with the picture in its place."""
    return body.replace(PLACE_TEXT.encode("ascii"), image.base64.encode("ascii"), 1)
