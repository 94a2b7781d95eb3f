"""GIF, read as its blocks."""

from collections.abc import Iterator
from struct import unpack_from

from bridge.errors import InvalidImage
from bridge.images.containers.base import Header, bounded, rejoin

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_CONTROL = 0xF9
# A writer fills its sub-blocks with 254 or 255 bytes; 20 MB have 80,000 of them.
_MOST_SUB_BLOCKS = 400_000


def _palette(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_sub_blocks(data: bytes, at: int, left: list[int]) -> int:
    while size := data[at]:
        at += size + 1
        left[0] -= 1
        if not left[0]:
            raise InvalidImage("The GIF image is made of too many parts.")
    return at + 1


def blocks(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (kind, start, end): `_IMAGE` or an extension's label. IndexError when cut inside a block."""
    left = [_MOST_SUB_BLOCKS]
    at = 13 + _palette(data[10])
    while at < len(data) and data[at] != _TRAILER:
        start, kind = at, data[at]
        if kind == _EXTENSION:
            kind, at = data[at + 1], at + 2
        elif kind == _IMAGE:
            at += 11 + _palette(data[at + 9])
        else:
            raise InvalidImage("The GIF image is malformed.")
        at = _after_sub_blocks(data, at, left)
        yield kind, start, at


def header(data: bytes) -> Header:
    """Read the canvas and count the frames. Raises InvalidImage; struct.error, IndexError when cut short."""
    width, height = unpack_from("<HH", data, 6)
    frames, transparent = 0, False
    for kind, start, _ in bounded(blocks(data)):
        if kind == _IMAGE:
            left, top, across, down = unpack_from("<HHHH", data, start + 1)
            transparent |= left + top > 0 or across < width or down < height
            width, height = max(width, left + across), max(height, top + down)
            frames += 1
        elif kind == _CONTROL:
            transparent |= bool(data[start + 3] & 1)
    if not frames:
        raise InvalidImage("The GIF image holds no frame.")
    return Header(media_type="image/gif", width=width, height=height, frames=frames, mode="P", has_alpha=transparent)


def strip(data: bytes) -> bytes:
    """Drop comments, text and application blocks and all after the trailer, which is added if missing."""
    view = memoryview(data)
    kept: list[bytes | memoryview] = [view[: 13 + _palette(data[10])]]
    kept += [view[start:end] for kind, start, end in bounded(blocks(data)) if kind in (_IMAGE, _CONTROL)]
    kept.append(b";")
    return rejoin(data, kept)
