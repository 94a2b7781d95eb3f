"""The sources of images: one function for each, listed in `SOURCES`."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from pybase64 import b64decode, b64encode_as_string

from bridge.errors import InvalidImage
from bridge.images import workspace as files
from bridge.images.fetch import Fetcher
from bridge.images.formats.header import Header
from bridge.images.inspect import check_bytes, inspect
from bridge.images.limits import ImageLimits

Origin = Literal["path", "url", "base64", "upload"]

QUICK = 256 * 1024
"""Bytes that are processed on the event loop; more of them in a thread."""
_DATA_URI = re.compile(r"\s*+data:[^,]{0,1000};base64,", re.IGNORECASE)
_SPACE = b" \t\r\n\f\v"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
# White space may take as many characters as the digits.
_MAX_SPACING = 2


@dataclass(slots=True)
class Source:
    """An image as it was received: its bytes, its checked header, its origin and a name for it.

    `text`: the bytes in standard base64, if they were received in that form; otherwise, "".
    """

    data: bytes = field(repr=False)
    header: Header
    origin: Origin
    name: str
    text: str = field(default="", repr=False)

    def release(self) -> None:
        """Free the bytes, even if something still refers to this object."""
        self.data, self.text = b"", ""


@dataclass(frozen=True, slots=True)
class Access:
    """What the sources may read: the workspace, the internet through `fetcher`, and how much."""

    workspace: Path
    fetcher: Fetcher
    limits: ImageLimits


async def from_path(path: str, access: Access) -> Source:
    """Read a file of the workspace; a leading `/workspace/` is the workspace.

    Raises PathRefused for anything outside, ImageNotFound inside, and what `inspect` raises.
    """
    data = await asyncio.to_thread(files.read, path, access.workspace, access.limits.max_bytes)
    return await _source(data, access.limits, "path", "/".join(files.inside(path)))


async def from_url(url: str, access: Access) -> Source:
    """Fetch an http(s) URL. Raises ImageUnreachable, AddressRefused, and what `inspect` raises."""
    data = await access.fetcher.fetch(url, access.limits.max_bytes)
    return await _source(data, access.limits, "url", url.partition("?")[0].partition("#")[0])


async def from_base64(text: str, access: Access) -> Source:
    """Decode base64, bare or in a data URI. Raises InvalidImage, and what `inspect` raises."""
    decode = partial(decode_base64, text, access.limits)
    data, standard = decode() if len(text) < QUICK else await asyncio.to_thread(decode)
    return await _source(data, access.limits, "base64", "base64", standard)


SOURCES: tuple[tuple[Literal["path", "url", "base64"], str, Callable[[str, Access], Awaitable[Source]]], ...] = (
    ("path", "", from_path),
    ("url", "", from_url),
    ("base64", "", from_base64),
)
"""Field of the request's image, prefix of its value, function; the first row that matches is used."""


async def load(kind: str, reference: str, access: Access) -> Source:
    """Load the image that a request refers to. Raises ImageError."""
    for field_name, prefix, read in SOURCES:
        if field_name == kind and reference.startswith(prefix):
            return await read(reference, access)
    raise InvalidImage(f"An image cannot be read from this {kind}.")


def from_upload(data: bytes, limits: ImageLimits) -> Source:
    """Return uploaded bytes as a source. Raises what `inspect` raises."""
    return Source(data, inspect(data, limits), "upload", "upload")


async def _source(data: bytes, limits: ImageLimits, origin: Origin, name: str, text: str = "") -> Source:
    header = inspect(data, limits) if len(data) < QUICK else await asyncio.to_thread(inspect, data, limits)
    return Source(data, header, origin, name, text)


def decode_base64(text: str, limits: ImageLimits) -> tuple[bytes, str]:
    """Decode the standard or the URL-safe alphabet; white space and missing padding are accepted.

    Returns the bytes, and the base64 text if every decoder accepts it unchanged, else "". Takes 0.06 ms per MB for
    such a text. Raises InvalidImage and ImageTooLarge.
    """
    check_bytes(len(text) // _MAX_SPACING * 3 // 4, limits)
    uri = _DATA_URI.match(text)
    payload = text[uri.end() :] if uri else text
    try:
        data = b64decode(payload, validate=True)
    except ValueError:
        data, payload = _lenient(payload), ""
    check_bytes(len(data), limits)
    # A stricter decoder rejects a last digit whose unused bits are not zero.
    standard = payload.endswith(b64encode_as_string(data[len(data) // 3 * 3 :]))
    return data, payload if standard else ""


def _lenient(payload: str) -> bytes:
    try:
        digits = payload.encode("ascii").translate(_URL_SAFE, _SPACE).rstrip(b"=")
        return b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except ValueError:
        raise InvalidImage("The image is not base64.") from None
