"""Read JPEG as a list of segments (ITU-T T.81, B.1)."""

import re
from collections.abc import Iterable, Iterator, Sequence
from struct import unpack_from

from bridge.images.formats.header import Header, bounded, exif_orientation, rejoin
from bridge.images.limits import Rejected, malformed

Segment = tuple[int, int, int]

_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
# Not markers: the coded data after a scan header, without and with restart markers or fill bytes.
_CODED, _MARKED = 0, 1
_APP0, _EXIF, _ICC, _ADOBE, _COMMENT = 0xE0, 0xE1, 0xE2, 0xEE, 0xFE
_HUFFMAN, _QUANTIZATION = 0xC4, 0xDB
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = (0xC0, 0xC1)
_PLAIN_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive Huffman: all that stb_image (llama.cpp) reads
_APPLICATION = range(0xE0, 0xF0)
_NEEDED = {_ICC: b"ICC_PROFILE\0", _ADOBE: b"Adobe"}
# Matches no restart markers and stuffed bytes, which belong to the entropy-coded data.
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
_NOT_STUFFED = re.compile(rb"\xff[^\0]")
_MAX_SCANS = 100
_MAX_PIXELS_PER_BYTE = 64 * 8  # each block of 64 pixels has a Huffman code of at least one bit
_MAX_SEGMENTS = 64
_LEAST_SIZE = {_ICC: 14, _ADOBE: 12}  # shortest contents that decoders accept
_SAMPLINGS = (0x11, 0x12, 0x21, 0x22)  # usual samplings of the first component; decoders reject some others


def segments(data: bytes) -> Iterator[Segment]:
    """Yield (marker, start, end) for each segment. The coded data after a scan header is `_CODED` or `_MARKED`."""
    at = 2
    while match := _MARKER.search(data, at):
        start = match.start()
        marker = data[start + 1]
        if marker in (_START, _END):
            yield marker, start, start + 2
            return
        length = int(unpack_from(">H", data, start + 2)[0])
        at = start + 2 + length
        if length < 2:
            raise malformed("The JPEG image has a segment that is shorter than its own length field.")
        if at > len(data):
            raise malformed("The JPEG image is truncated.")
        yield marker, start, at
        if marker == _SCAN:
            unstuffed = _NOT_STUFFED.search(data, at)  # takes 0.4 ms per MB
            following = _MARKER.search(data, unstuffed.start()) if unstuffed else None
            end = following.start() if following else len(data)
            yield _CODED if unstuffed and unstuffed.start() == end else _MARKED, at, end
            at = end


def inspect(data: bytes) -> Header:
    """Read the frame header and the orientation."""
    frame: Segment | None = None
    orientation = 1
    for marker, start, end in bounded(segments(data)):
        if marker in _FRAMES:
            frame = frame or (marker, start, end)
        elif marker == _EXIF and orientation == 1 and data[start + 4 : start + 10] == b"Exif\0\0":
            orientation = exif_orientation(data[start + 10 : end])
        elif marker == _SCAN:
            break
    else:
        raise malformed("The JPEG image is truncated.")
    if frame is None:
        raise malformed("The JPEG image has no frame.")
    bits, height, width, components = unpack_from(">BHHB", data, frame[1] + 4)
    # A sequential scan of all components is the only scan. Counting scans takes 0.8 ms per MB.
    single = frame[0] in _SEQUENTIAL and data[start + 4] == components
    scans = 1 if single else data.count(b"\xff\xda")
    if scans > _MAX_SCANS:
        raise Rejected("image_too_large", f"The JPEG image has more than {_MAX_SCANS} scans.")
    huffman = frame[0] in _PLAIN_FRAMES
    if huffman and width * height > len(data) * _MAX_PIXELS_PER_BYTE:
        raise malformed("The JPEG image is truncated.")
    plain = huffman and bits == 8 and components in (1, 3)
    return Header("image/jpeg", (width, height), orientation, plain, max(1, scans))


def strip(data: bytes) -> bytes:
    """Drop EXIF, XMP, IPTC, comments, thumbnails, further images and everything after the end marker.

    The ICC profile and Adobe's transform flag are kept, because the colours depend on them.
    """
    return _strip(data, bounded(segments(data)))


def strip_and_check(data: bytes) -> tuple[bytes, bool]:
    """Strip as `strip` does. Also return whether the image is one complete scan with all tables that it uses.

    Such an image is baseline or extended Huffman-coded. Wrong coded bits only give wrong pixels (libjpeg-turbo 3.1), so
    it needs no decoding to find out whether it can be decoded.
    """
    parts = list(bounded(segments(data)))
    return _strip(data, parts), _is_intact(data, parts)


def _strip(data: bytes, parts: Iterable[Segment]) -> bytes:
    view = memoryview(data)
    kept: list[bytes | memoryview] = [view[:2]]
    for marker, start, end in parts:
        if marker == _START:
            raise malformed("The JPEG image contains another one before its end.")
        if marker == _APP0 and data[start + 4 : start + 9] == b"JFIF\0" and end - start >= 18:
            kept.append(b"\xff\xe0\x00\x10" + data[start + 4 : start + 16] + b"\0\0")  # without the thumbnail
        elif _is_needed(marker, data[start + 4 : start + 16]):
            kept.append(view[start:end])
    return rejoin(data, kept)


def _is_needed(marker: int, opening: bytes) -> bool:
    """Return whether a segment is kept. Other application segments hold thumbnails and metadata."""
    if marker in _NEEDED:
        return opening.startswith(_NEEDED[marker])
    return marker not in _APPLICATION and marker < 0xF0


def _is_intact(data: bytes, parts: Sequence[Segment]) -> bool:
    tables: set[tuple[int, int]] = set()
    frame: dict[int, int] = {}
    examined = 0
    for position, (marker, start, end) in enumerate(parts):
        content = data[start + 4 : end]
        if marker in _APPLICATION or marker == _COMMENT:
            if _is_needed(marker, content[:12]) and len(content) < _LEAST_SIZE[marker]:
                return False
            continue
        examined += 1
        if marker == _SCAN:
            kinds = [kind for kind, *_ in parts[position + 1 :]]
            return _refers(content, frame, tables) and kinds == [_CODED, _END] and parts[position + 1][2] > end
        if marker in _SEQUENTIAL and not frame:
            frame = _components(content)
            usual = bool(frame)
        else:
            defined = _tables(marker, content)
            tables |= defined
            usual = bool(defined)
        if not usual or examined == _MAX_SEGMENTS:
            return False
    return False


def _components(frame: bytes) -> dict[int, int]:
    """Map each component id to the slot of its quantization table. Empty if the frame is unusual."""
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
    components = {row[0]: row[2] for row in rows} if usual else {}
    return components if len(components) == len(rows) else {}


def _tables(marker: int, content: bytes) -> set[tuple[int, int]]:
    """Return (kind, slot) of the tables: Huffman DC (0) or AC (1), quantization (2). Empty if none or unusual."""
    if marker == _QUANTIZATION:
        ids = content[::65]  # tables of 16-bit values, which are twice as long, are unusual
        return {(2, slot) for slot in ids} if len(content) % 65 == 0 and all(slot < 4 for slot in ids) else set()
    tables: set[tuple[int, int]] = set()
    while marker == _HUFFMAN and content and len(tables) < 8:
        kind, slot = divmod(content[0], 16)
        counts, size = content[1:17], sum(content[1:17])
        symbols, content = content[17 : 17 + size], content[17 + size :]
        if kind > 1 or slot > 3 or len(symbols) != size or not _is_prefix_code(counts):
            return set()
        if (kind == 0 and max(symbols) > 11) or (kind, slot) in tables:
            return set()
        tables.add((kind, slot))
    return set() if content else tables


def _is_prefix_code(counts: bytes) -> bool:
    """Return whether a Huffman code without an all-ones code exists for `counts[n - 1]` symbols of each length n."""
    code = 0
    for length, count in enumerate(counts, 1):
        code = code * 2 + count
        if count and code >= 1 << length:
            return False
    return 0 < sum(counts) <= 256


def _refers(scan: bytes, frame: dict[int, int], tables: set[tuple[int, int]]) -> bool:
    """Return whether the scan contains all components in one pass, and all tables that it uses exist."""
    rows = scan[1:-3]
    if not frame or len(scan) != 4 + 2 * len(frame) or scan[0] != len(frame):
        return False
    if list(rows[::2]) != list(frame) or scan[-3:] != b"\x00\x3f\x00":
        return False
    needed = {(2, slot) for slot in frame.values()}
    for pair in rows[1::2]:
        needed |= {(0, pair >> 4), (1, pair & 15)}
    return needed <= tables
