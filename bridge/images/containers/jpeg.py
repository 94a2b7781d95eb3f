"""JPEG, read as its segments."""

import re
from collections.abc import Iterator
from struct import unpack_from

from bridge.errors import ImageTooLarge, InvalidImage
from bridge.images.containers.base import Header, bounded, rejoin
from bridge.images.containers.tiff import orientation

Segment = tuple[int, int, int]

START, END, SCAN, ENTROPY = 0xD8, 0xD9, 0xDA, 0
APP0, APP1, APP2, APP14, COMMENT = 0xE0, 0xE1, 0xE2, 0xEE, 0xFE
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Baseline, extended and progressive Huffman; stb_image, which llama.cpp's servers use, reads no other.
_PLAIN_FRAMES = (0xC0, 0xC1, 0xC2)
_SEQUENTIAL = (0xC0, 0xC1)
_APPLICATION = range(0xE0, 0xF0)
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
# Restart markers and stuffed bytes belong to the entropy-coded data.
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
_MAX_SCANS = 100


def segments(data: bytes, *, one_scan: bool = False) -> Iterator[Segment]:
    """Yield (marker, start, end) up to the end marker; a scan's coded data follows it as `ENTROPY`.

    `one_scan`: the first scan's data is known to reach to the end marker, which is the end of all; looking for that
    takes 0.4 ms for each MB.
    """
    at = 2
    while found := _MARKER.search(data, at):
        start = found.start()
        marker = data[start + 1]
        if marker in (START, END):
            yield marker, start, start + 2
            return
        length = int(unpack_from(">H", data, start + 2)[0])
        at = start + 2 + length
        if length < 2:
            raise InvalidImage("The JPEG image has a segment that is shorter than its own length.")
        if at > len(data):
            raise InvalidImage("The JPEG image is truncated.")
        yield marker, start, at
        if marker == SCAN:
            following = None if one_scan else _MARKER.search(data, at)
            end = following.start() if following else len(data) - 2 * one_scan
            yield ENTROPY, at, end
            at = end


def header(data: bytes) -> Header:
    """Read the frame and the orientation. Raises InvalidImage; struct.error when cut short."""
    frame: Segment | None = None
    exif = b""
    for marker, start, end in bounded(segments(data)):
        if marker in _FRAMES:
            frame = frame or (marker, start, end)
        elif marker == APP1 and not exif and data[start + 4 : start + 10] == b"Exif\0\0":
            exif = data[start + 10 : end]
        elif marker == SCAN:
            break
    else:
        raise InvalidImage("The JPEG image is truncated.")
    if frame is None:
        raise InvalidImage("The JPEG image has no frame.")
    bits, height, width, parts = unpack_from(">BHHB", data, frame[1] + 4)
    # Each further scan costs a pass over the whole picture; inside a scan's own bytes FF is always stuffed. One scan of
    # all components that is not progressive is the last one that is read; counting takes 0.8 ms for each MB.
    single = frame[0] in _SEQUENTIAL and data[start + 4] == parts
    scans = 1 if single else data.count(b"\xff\xda")
    if scans > _MAX_SCANS:
        raise ImageTooLarge(f"The JPEG image has more than {_MAX_SCANS} scans.")
    return Header(
        media_type="image/jpeg",
        width=width,
        height=height,
        mode=_MODES.get(parts, "unknown"),
        bits=bits,
        orientation=orientation(exif),
        plain=frame[0] in _PLAIN_FRAMES and bits == 8 and parts in (1, 3),
        passes=max(1, scans),
        exif=exif,
    )


def strip(data: bytes, *, one_scan: bool = False) -> bytes:
    """Drop EXIF, XMP, IPTC, comments, thumbnails, MPO's index and all that follows the end marker.

    Kept: the ICC profile and Adobe's transform flag, without which the colours change. Returns the same object
    when there is nothing to do. `one_scan`: as in `segments`.
    """
    view = memoryview(data)
    kept: list[bytes | memoryview] = [view[:2]]
    for marker, start, end in bounded(segments(data, one_scan=one_scan)):
        if marker == START:
            raise InvalidImage("The JPEG image holds another one before its end.")
        if marker == APP0:
            kept.append(_without_thumbnail(view[start:end]))
        elif _is_needed(marker, data[start + 4 : start + 16]):
            kept.append(view[start:end])
    return rejoin(data, kept)


def _is_needed(marker: int, opening: bytes) -> bool:
    if marker == APP2:
        return opening == b"ICC_PROFILE\0"
    if marker == APP14:
        return opening.startswith(b"Adobe")
    return marker not in _APPLICATION and marker < 0xF0


def _without_thumbnail(segment: memoryview) -> bytes | memoryview:
    """Cut a JFIF segment down to its density; other APP0 segments hold nothing but thumbnails."""
    if bytes(segment[4:9]) != b"JFIF\0" or len(segment) < 18:
        return b""
    return segment if len(segment) == 18 else b"\xff\xe0\x00\x10" + bytes(segment[4:16]) + b"\0\0"
