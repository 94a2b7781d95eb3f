"""TIFF, read as its directories; EXIF is one."""

import struct
from collections.abc import Iterator
from struct import unpack_from
from typing import NamedTuple

from bridge.errors import InvalidImage
from bridge.images.containers.base import MOST_PARTS, Header

_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _STRIPS, _ORIENTATION, _TILES, _EXTRA = 256, 257, 258, 262, 273, 274, 324, 338
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_WANTED = frozenset(
    {_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _STRIPS, _ORIENTATION, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _EXTRA}
)
_NUMBERS = {1: ("B", 1), 3: ("H", 2), 4: ("I", 4), 16: ("Q", 8)}
# Pillow and libtiff take signed numbers and offsets for a size as well.
_NUMBERS |= {6: ("B", 1), 8: ("H", 2), 9: ("I", 4), 13: ("I", 4), 17: ("Q", 8), 18: ("Q", 8)}
_MODES = {0: "L", 1: "L", 2: "RGB", 3: "P", 5: "CMYK", 6: "YCbCr", 8: "LAB"}
_MOST_DIRECTORIES = 10_000


class _Layout:
    """Byte order and field widths: classic TIFF or BigTIFF."""

    def __init__(self, data: bytes) -> None:
        self.order = {b"II": "<", b"MM": ">"}.get(data[:2])
        if self.order is None:
            raise InvalidImage("The TIFF image is malformed.")
        big = unpack_from(self.order + "H", data, 2)[0] == 43
        self.count, self.count_size = ("Q", 8) if big else ("H", 2)
        self.offset, self.offset_size = ("Q", 8) if big else ("I", 4)
        self.first = 8 if big else 4
        self.entry_size = 20 if big else 12

    def number(self, data: bytes, form: str, at: int) -> int:
        """Read one unsigned integer. Raises struct.error beyond the end."""
        return int(unpack_from(f"{self.order}{form}", data, at)[0])


class _Entry(NamedTuple):
    """How many values a tag has, and the first."""

    values: int
    value: int


def _directories(data: bytes, layout: _Layout) -> Iterator[range]:
    """Yield where each directory's entries stand, following the chain once around at most.

    Directories may overlap, so their entries can be a thousand times what the file has: read those of one.
    """
    seen: set[int] = set()
    at = layout.number(data, layout.offset, layout.first)
    while at and at not in seen and len(seen) < _MOST_DIRECTORIES:
        seen.add(at)
        count = layout.number(data, layout.count, at)
        entries = at + layout.count_size
        after = entries + count * layout.entry_size
        if after > len(data):
            raise InvalidImage("The TIFF image is truncated.")
        yield range(entries, after, layout.entry_size)
        at = layout.number(data, layout.offset, after) if after + layout.offset_size <= len(data) else 0


def _tags(
    data: bytes, layout: _Layout, entries: range, wanted: frozenset[int] = _WANTED
) -> Iterator[tuple[int, _Entry]]:
    for at in entries[:MOST_PARTS]:
        tag, kind = unpack_from(f"{layout.order}HH", data, at)
        if tag in wanted and kind in _NUMBERS:
            form, size = _NUMBERS[kind]
            value = at + 4 + layout.offset_size
            count = layout.number(data, layout.offset, at + 4)
            if size * count > layout.offset_size:
                value = layout.number(data, layout.offset, value)
            yield tag, _Entry(count, layout.number(data, form, value))


def orientation(block: bytes) -> int:
    """EXIF's orientation, 1 to 8; 1 when the block says nothing or cannot be read."""
    try:
        layout = _Layout(block)
        entries = next(_directories(block, layout), range(0))
        tags = dict(_tags(block, layout, entries, frozenset({_ORIENTATION})))
    except (InvalidImage, struct.error):
        return 1
    return _turn(tags)


def _turn(tags: dict[int, _Entry]) -> int:
    turn = tags[_ORIENTATION].value if _ORIENTATION in tags else 1
    return turn if 1 <= turn <= 8 else 1


def _agreed(tags: Iterator[tuple[int, _Entry]]) -> dict[int, _Entry]:
    """What a directory says. Raises InvalidImage when it says it twice: decoders believe one or the other."""
    found: dict[int, _Entry] = {}
    for tag, entry in tags:
        if found.setdefault(tag, entry) != entry:
            raise InvalidImage("The TIFF image contradicts itself.")
    return found


def header(data: bytes) -> Header:
    """Read the first page and count the others. Raises InvalidImage; struct.error when cut short."""
    layout = _Layout(data)
    pages = list(_directories(data, layout))
    first = _agreed(_tags(data, layout, pages[0])) if pages else {}
    if _WIDTH not in first or _HEIGHT not in first:
        raise InvalidImage("The TIFF image has no first page.")
    # Pillow walks them in Python: 2 million of one pixel each took 9 s and 0.8 GB (measured with Pillow 13).
    if any(first[one].values > MOST_PARTS for one in (_STRIPS, _TILES) if one in first):
        raise InvalidImage("The image is made of too many parts.")
    return Header(
        media_type="image/tiff",
        width=first[_WIDTH].value,
        height=first[_HEIGHT].value,
        frames=len(pages),
        mode=_MODES.get(first[_PHOTOMETRIC].value if _PHOTOMETRIC in first else 1, "unknown"),
        bits=first[_BITS].value if _BITS in first else 1,
        orientation=_turn(first),
        has_alpha=_EXTRA in first,
        tile=first[_TILE_WIDTH].value * first[_TILE_HEIGHT].value if {_TILE_WIDTH, _TILE_HEIGHT} <= first.keys() else 0,
    )
