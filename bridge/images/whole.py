"""Whether a JPEG is whole, told without decoding it.

A decoder fails on what stands before the coded data (the frame, the tables, what they refer to) and on data that ends
before its end marker. Coded bits that are wrong give wrong pixels and no failure (libjpeg-turbo 3.1). Both are looked
at here, for the one layout that most photographs have; whatever differs has to be decoded to be known.
"""

import re
from itertools import islice

from bridge.images.containers import jpeg

Table = tuple[int, int]

_DIRECT, _ALTERNATING, _QUANTISER = 0, 1, 2
_NAMES = 4  # tables of a kind
_FRAMES, _HUFFMAN, _QUANTISERS = (0xC0, 0xC1), 0xC4, 0xDB
# For other readers than the decoder, or for colours only.
_BESIDE = frozenset({*range(jpeg.APP0, jpeg.APP0 + 16), jpeg.COMMENT})
# More would only want to burn time; an ICC profile or XMP of a megabyte has 16.
_MOST_SEGMENTS = 64
# Across and down, of the first component; the others have 1 x 1. Decoders refuse some of the stranger ones.
_SAMPLINGS = frozenset({0x11, 0x12, 0x21, 0x22})
_SPECTRUM = b"\x00\x3f\x00"  # the whole of it, in one pass
# Not even restarts: FF 00 is a coded byte, anything else ends the scan.
_MARKER = re.compile(rb"\xff[^\0]")


def is_whole(data: bytes) -> bool:
    """Whether it is one scan of Huffman-coded data with all that it refers to, ended by its end marker.

    False says nothing: decode it. Takes 0.4 ms for each MB, a twentieth of what decoding takes.
    """
    tables: set[Table] = set()
    frame: dict[int, int] = {}
    for marker, start, end in islice(jpeg.segments(data), _MOST_SEGMENTS):
        if marker in _BESIDE:
            continue
        content = data[start + 4 : end]
        if marker == jpeg.SCAN:
            return _refers(content, frame, tables) and _ends(data, end)
        if marker in _FRAMES and not frame:
            frame = _components(content)
            found = bool(frame)
        else:
            defined = _tables(marker, content)
            tables |= defined
            found = bool(defined)
        if not found:
            return False
    return False


def _components(frame: bytes) -> dict[int, int]:
    """The quantiser of each component, by its name; none when the frame is unusual."""
    rows = [tuple(frame[at : at + 3]) for at in range(6, len(frame), 3)]
    usual = (
        len(frame) in (9, 15)
        and frame[5] == len(rows)
        and frame[0] == 8
        and any(frame[1:3])
        and any(frame[3:5])
        and rows[0][1] in _SAMPLINGS
        and all(row[1] == 0x11 for row in rows[1:])
    )
    quantisers = {row[0]: row[2] for row in rows} if usual else {}
    return quantisers if len(quantisers) == len(rows) else {}


def _tables(marker: int, content: bytes) -> set[Table]:
    """The tables of a segment; none when one of them is unusual, or the segment holds something else."""
    if marker == _HUFFMAN:
        return _huffman(content)
    return _quantisers(content) if marker == _QUANTISERS else set()


def _quantisers(content: bytes) -> set[Table]:
    names = content[::65]  # a table of 16 bits a value is twice as long, and unusual
    usual = len(names) <= _NAMES and len(content) % 65 == 0 and all(name < _NAMES for name in names)
    return {(_QUANTISER, name) for name in names} if usual else set()


def _huffman(content: bytes) -> set[Table]:
    if not content:
        return set()
    found: set[Table] = set()
    for _ in range(2 * _NAMES):
        kind, name = divmod(content[0], 16)
        counts, size = content[1:17], sum(content[1:17])
        symbols, content = content[17 : 17 + size], content[17 + size :]
        if kind > _ALTERNATING or name >= _NAMES or len(symbols) != size or not _is_prefix_code(counts):
            return set()
        if kind == _DIRECT and max(symbols) > 11:
            return set()
        found.add((kind, name))
        if not content:
            return found
    return set()


def _is_prefix_code(counts: bytes) -> bool:
    """Whether there are codes for so many symbols of each length, the code of ones alone left free."""
    code = 0
    for length, count in enumerate(counts, 1):
        code = code * 2 + count
        if count and code >= 1 << length:
            return False
    return 0 < sum(counts) <= 256


def _refers(scan: bytes, frame: dict[int, int], tables: set[Table]) -> bool:
    """Whether the scan holds all components of the frame, and every table is there."""
    rows = scan[1:-3]
    if not frame or len(scan) != 4 + 2 * len(frame) or scan[0] != len(frame):
        return False
    if list(rows[::2]) != list(frame) or scan[-3:] != _SPECTRUM:
        return False
    needed = {(_QUANTISER, name) for name in frame.values()}
    for pair in rows[1::2]:
        needed |= {(_DIRECT, pair >> 4), (_ALTERNATING, pair & 15)}
    return needed <= tables


def _ends(data: bytes, start: int) -> bool:
    """Whether coded data follows, and the end marker behind it is the end of all."""
    marker = _MARKER.search(data, start)
    return marker is not None and start < marker.start() == len(data) - 2 and data.endswith(b"\xff\xd9")
