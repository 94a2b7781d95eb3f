"""HEIC, read as its boxes (ISO 14496-12, 23008-12), so that no HEVC library sees it before the limits have."""

from collections.abc import Iterator
from itertools import chain
from struct import unpack_from

from bridge.errors import InvalidImage
from bridge.images.containers.base import Header, bounded

Box = tuple[bytes, int, int]

_ALPHA = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1"
# libheif reads no more items either.
_MOST_ITEMS = 1_000


def boxes(data: bytes, at: int, end: int) -> Iterator[Box]:
    """Yield (kind, start, end) of what is inside each box. struct.error when cut short."""
    while at + 8 <= end:
        size, kind = unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            size, head = unpack_from(">Q", data, at + 8)[0], 16
        after = at + size if size else end
        if (size and size < head) or after > end:
            raise InvalidImage("The HEIC image is truncated.")
        yield kind, at + head, after
        at = after


def header(data: bytes) -> Header:
    """Read the primary picture's shape as it is shown. Raises InvalidImage; struct.error when cut short."""
    meta = _inside(data, 0, len(data), b"meta")
    if meta is None:
        raise InvalidImage("The HEIC image has no first picture.")
    parts = {kind: (start, end) for kind, start, end in bounded(boxes(data, meta[0] + 4, meta[1]))}
    if b"pitm" not in parts or b"iprp" not in parts:
        raise InvalidImage("The HEIC image has no first picture.")
    properties, owners = _properties(data, *parts[b"iprp"])
    mine = [properties[one] for one in owners.get(_primary(data, parts[b"pitm"][0]), ()) if 0 <= one < len(properties)]
    sizes = [start for kind, start, _ in mine if kind == b"ispe"]
    if not sizes:
        raise InvalidImage("The HEIC image does not say its size.")
    width, height = unpack_from(">II", data, sizes[0] + 4)
    quarters = sum(data[start] & 3 for kind, start, _ in mine if kind == b"irot")
    return Header(
        media_type="image/heic",
        width=height if quarters % 2 else width,
        height=width if quarters % 2 else height,
        has_alpha=any(kind == b"auxC" and data[at + 4 : end].startswith(_ALPHA) for kind, at, end in properties),
        plain=False,
    )


def _inside(data: bytes, at: int, end: int, wanted: bytes) -> tuple[int, int] | None:
    return next(((start, after) for kind, start, after in bounded(boxes(data, at, end)) if kind == wanted), None)


def _primary(data: bytes, at: int) -> int:
    return int(unpack_from(">I" if data[at] else ">H", data, at + 4)[0])


def _properties(data: bytes, at: int, end: int) -> tuple[list[Box], dict[int, list[int]]]:
    """All properties, and each item's by their index."""
    found: list[Box] = []
    tables: list[tuple[int, int]] = []
    for kind, start, after in bounded(boxes(data, at, end)):
        if kind == b"ipco":
            found = list(bounded(boxes(data, start, after)))
        elif kind == b"ipma":
            tables.append((start, after))
    owners = chain.from_iterable(_associations(data, *table) for table in tables)
    return found, dict(bounded(owners, _MOST_ITEMS))


def _associations(data: bytes, at: int, end: int) -> Iterator[tuple[int, list[int]]]:
    table = memoryview(data)[at:end]
    version, wide = table[0], table[3] & 1
    (items,) = unpack_from(">I", table, 4)
    at = 8
    for _ in range(items):
        item, count = unpack_from(">IB" if version else ">HB", table, at)
        at += 5 if version else 3
        indexes = unpack_from(f">{count}H" if wide else f">{count}B", table, at)
        at += count * (2 if wide else 1)
        yield item, [(one & (0x7FFF if wide else 0x7F)) - 1 for one in indexes]
