"""The sources of images: one function for each."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from pybase64 import b64decode

from bridge.errors import InvalidImage
from bridge.images import workspace as files
from bridge.images.formats.header import Header
from bridge.images.inspect import check_bytes, inspect
from bridge.images.limits import ImageLimits

if TYPE_CHECKING:
    from bridge.images.fetch import Fetcher

Origin = Literal["path", "url", "base64", "upload"]

T = TypeVar("T")
_QUICK = 256 * 1024
_DATA_URI = re.compile(r"\s*+data:[^,]{0,1000};base64,", re.IGNORECASE)
_SPACE = b" \t\r\n\f\v"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_MAX_SPACING = 2  # at most half of the characters may be white space


@dataclass(slots=True)
class Source:
    """A received image: its bytes, its checked header and its origin."""

    data: bytes = field(repr=False)
    header: Header
    origin: Origin

    def release(self) -> None:
        """Free the bytes, even if this object is still referenced."""
        self.data = b""


@dataclass(frozen=True, slots=True)
class Access:
    """The places that sources may read (the workspace, the internet through `fetcher`), and the limits."""

    workspace: Path
    fetcher: "Fetcher"
    limits: ImageLimits


async def from_path(path: str, access: Access) -> Source:
    """Read a file of the workspace. Raises PathRefused, ImageNotFound, and what `inspect` raises."""

    def read() -> Source:
        data = files.read(path, access.workspace, access.limits.max_bytes)
        return Source(data, inspect(data, access.limits), "path")

    return await asyncio.to_thread(read)


async def from_url(url: str, access: Access) -> Source:
    """Fetch an http(s) URL. Raises ImageUnreachable, AddressRefused, and what `inspect` raises."""
    data = await access.fetcher.fetch(url, access.limits.max_bytes)
    header = await off_loop(len(data), partial(inspect, data, access.limits))
    return Source(data, header, "url")


async def from_base64(text: str, access: Access) -> Source:
    """Decode base64 with or without a data URI. Raises InvalidImage, and what `inspect` raises."""

    def decode() -> Source:
        data = decode_base64(text, access.limits)
        return Source(data, inspect(data, access.limits), "base64")

    return await off_loop(len(text), decode)


_SOURCES = {"path": from_path, "url": from_url, "base64": from_base64}


async def load(field: str, reference: str, access: Access) -> Source:
    """Load the image that a request refers to. `field`: the field of the request's image. Raises ImageError."""
    return await _SOURCES[field](reference, access)


def from_upload(data: bytes, limits: ImageLimits) -> Source:
    """Return uploaded bytes as a source. Raises what `inspect` raises."""
    return Source(data, inspect(data, limits), "upload")


async def off_loop(size: int, work: Callable[[], T]) -> T:
    """Run `work` on `size` bytes and return its result. Many bytes are processed in a thread."""
    return work() if size < _QUICK else await asyncio.to_thread(work)


def decode_base64(text: str, limits: ImageLimits) -> bytes:
    """Decode the usual spellings of base64 (docs/decisions.md). Raises InvalidImage and ImageTooLarge."""
    check_bytes(len(text) // _MAX_SPACING * 3 // 4, limits.max_bytes)
    uri = _DATA_URI.match(text)
    payload = text[uri.end() :] if uri else text
    try:
        data = b64decode(payload, validate=True)
    except ValueError:
        try:
            digits = payload.encode("ascii").translate(_URL_SAFE, _SPACE).rstrip(b"=")
            data = b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
        except ValueError:
            raise InvalidImage("The image is not base64.") from None
    check_bytes(len(data), limits.max_bytes)
    return data
