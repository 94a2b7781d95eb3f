"""TIFF, read as its directories; EXIF is one."""

import struct
from collections.abc import Iterator
from struct import unpack_from

from bridge.images.containers.base import Header
from bridge.images.errors import InvalidImage

_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION, _EXTRA = 256, 257, 258, 262, 274, 338
_WANTED = frozenset({_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION, _EXTRA})
_NUMBERS = {1: ("B", 1), 3: ("H", 2), 4: ("I", 4), 16: ("Q", 8)}
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


def directories(data: bytes, wanted: frozenset[int] = _WANTED) -> Iterator[dict[int, int]]:
    """Yield each directory's wanted tags with their first value, following the chain once around at most."""
    layout = _Layout(data)
    seen: set[int] = set()
    at = layout.number(data, layout.offset, layout.first)
    while at and at not in seen and len(seen) < _MOST_DIRECTORIES:
        seen.add(at)
        count = layout.number(data, layout.count, at)
        entries = at + layout.count_size
        after = entries + count * layout.entry_size
        if after > len(data):
            raise InvalidImage("The TIFF image is truncated.")
        yield dict(_tags(data, layout, range(entries, after, layout.entry_size), wanted))
        at = layout.number(data, layout.offset, after) if after + layout.offset_size <= len(data) else 0


def _tags(data: bytes, layout: _Layout, entries: range, wanted: frozenset[int]) -> Iterator[tuple[int, int]]:
    for at in entries:
        tag, kind = unpack_from(f"{layout.order}HH", data, at)
        if tag in wanted and kind in _NUMBERS:
            form, size = _NUMBERS[kind]
            value = at + 4 + layout.offset_size
            if size * layout.number(data, layout.offset, at + 4) > layout.offset_size:
                value = layout.number(data, layout.offset, value)
            yield tag, layout.number(data, form, value)


def orientation(block: bytes) -> int:
    """EXIF's orientation, 1 to 8; 1 when the block says nothing or cannot be read."""
    try:
        turn = next(directories(block, frozenset({_ORIENTATION})), {}).get(_ORIENTATION, 1)
    except (InvalidImage, struct.error):
        return 1
    return turn if 1 <= turn <= 8 else 1


def header(data: bytes) -> Header:
    """Read the first page and count the others. Raises InvalidImage; struct.error when cut short."""
    pages = list(directories(data))
    if not pages or _WIDTH not in pages[0] or _HEIGHT not in pages[0]:
        raise InvalidImage("The TIFF image has no first page.")
    first = pages[0]
    turn = first.get(_ORIENTATION, 1)
    return Header(
        media_type="image/tiff",
        width=first[_WIDTH],
        height=first[_HEIGHT],
        frames=len(pages),
        mode=_MODES.get(first.get(_PHOTOMETRIC, 1), "unknown"),
        bits=first.get(_BITS, 1),
        orientation=turn if 1 <= turn <= 8 else 1,
        has_alpha=_EXTRA in first,
    )
