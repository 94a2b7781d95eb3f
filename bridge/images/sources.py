"""Where a picture comes from: a path, a URL, base64, an upload. One function each; all end in a `Source`."""

import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from anyio import to_thread
from pybase64 import b64decode, b64encode_as_string

from bridge.errors import InvalidImage
from bridge.images import header as headers
from bridge.images import workspace as files
from bridge.images.containers.base import Header
from bridge.images.fetch import Fetcher
from bridge.images.limits import ImageLimits

_DATA_URI = re.compile(r"\s*+data:[^,]{0,1000}?;\s*+base64\s*+,?|\s*+(data:)", re.IGNORECASE)
# Space that is no ASCII, as copying from a page leaves it.
_ODD_SPACE = "\x85\xa0\u1680\u2028\u2029\u202f\u205f\u2060\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x2010)))
# Line ends that were escaped twice, and what base64 has that an address may not hold. Any other escape is not of
# base64. They are replaced one after the other: what looks at each by itself took 1 GB for six million of them.
_ESCAPES = {rb"\n": b"", rb"\r": b"", rb"\t": b""}
_QUOTED = {b"%2B": b"+", b"%2F": b"/", b"%3D": b"=", b"%0A": b"", b"%0D": b"", b"%20": b"", b"%09": b""}
_QUOTED |= {quoted.lower(): plain for quoted, plain in _QUOTED.items()}
_FOREIGN = re.compile(rb"%(?!2[0BFbf]|3[Dd]|0[9ADad])")
# How often the length of its digits a text may be, for all its spaces and escapes.
_MOST_BESIDE = 2
_SPACE = b" \t\r\n\f\v\x1c\x1d\x1e\x1f"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


@dataclass(frozen=True, slots=True)
class Source:
    """A picture as it came: its bytes, its checked header, where it is from and what to call it.

    `text`: the bytes in standard base64 where they came so, "" where they did not.
    """

    data: bytes = field(repr=False)
    header: Header
    origin: Literal["path", "url", "base64", "upload"]
    name: str
    text: str = field(default="", repr=False)


async def from_path(path: str, workspace: Path, limits: ImageLimits) -> Source:
    """Read a file of the workspace; a leading `/workspace/` is the workspace.

    Raises PathRefused for anything outside, ImageNotFound inside, and what `header.read` raises.
    """
    return await to_thread.run_sync(partial(_from_path, path, workspace, limits))


def _from_path(path: str, workspace: Path, limits: ImageLimits) -> Source:
    data = files.read(path, workspace, limits.max_bytes)
    return Source(data, headers.read(data, limits), "path", "/".join(files.inside(path)))


async def from_url(url: str, fetcher: Fetcher, limits: ImageLimits) -> Source:
    """Fetch an http(s) URL. Raises ImageUnreachable, AddressRefused, and what `header.read` raises."""
    data = await fetcher.fetch(url, limits.max_bytes)
    header = await to_thread.run_sync(headers.read, data, limits)
    return Source(data, header, "url", url.partition("?")[0].partition("#")[0])


def from_base64(text: str, limits: ImageLimits) -> Source:
    """Decode base64, bare or in a data URI; white space, the URL-safe alphabet and missing padding are taken.

    Plain CPU work, 0.06 ms for each MB as a rule and many times that for odd spellings: in a thread when it is large.
    Raises InvalidImage when it is not base64, and what `header.read` raises.
    """
    headers.check_bytes(len(text) // _MOST_BESIDE * 3 // 4, limits)
    uri = _DATA_URI.match(text)
    if uri and uri[1]:
        raise InvalidImage("The data URI does not say ;base64 before its comma.")
    bare = text[uri.end() :] if uri else text
    data = _plain(bare, limits)
    standard = "" if data is None else bare
    if data is None:
        data = _decoded(_payload(bare), limits)
    return Source(data, headers.read(data, limits), "base64", "base64", standard)


def from_upload(data: bytes, limits: ImageLimits) -> Source:
    """Take bytes as they were uploaded. Raises what `header.read` raises."""
    return Source(data, headers.read(data, limits), "upload", "upload")


def _plain(text: str, limits: ImageLimits) -> bytes | None:
    """Decode standard base64; None for every other spelling, and for what may be too long."""
    if len(text) * 3 // 4 > limits.max_bytes:
        return None
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        return None
    # The bits that the last digit has left over are zero, or a stricter reader than this one refuses them.
    return data if text.endswith(b64encode_as_string(data[len(data) // 3 * 3 :])) else None


def _payload(text: str) -> bytes:
    if not text.isascii():
        for space in _ODD_SPACE:
            text = text.replace(space, "")
    try:
        payload = text.encode("ascii")
    except UnicodeEncodeError as error:
        raise InvalidImage("The image is not base64.") from error
    if _FOREIGN.search(payload):
        raise InvalidImage("The image is not base64.")
    for mark, spellings in ((b"\\", _ESCAPES), (b"%", _QUOTED)):
        for escape in spellings if mark in payload else ():
            payload = payload.replace(escape, spellings[escape])
    return payload


def _decoded(payload: bytes, limits: ImageLimits) -> bytes:
    digits = payload.translate(_URL_SAFE, _SPACE).rstrip(b"=")
    headers.check_bytes(len(digits) * 3 // 4, limits)
    try:
        return b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except ValueError as error:
        raise InvalidImage("The image is not base64.") from error
