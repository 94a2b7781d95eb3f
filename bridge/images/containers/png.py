"""PNG, read as its chunks."""

from collections.abc import Iterator
from struct import unpack_from
from zlib import crc32, decompressobj
from zlib import error as ZlibError

from bridge.errors import InvalidImage
from bridge.images.containers.base import Header, bounded, rejoin
from bridge.images.containers.tiff import orientation

_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
# What the pixels mean. Every other ancillary chunk (text, time, EXIF, private ones) is dropped.
_MEANING = frozenset(
    {
        b"tRNS",
        b"gAMA",
        b"cHRM",
        b"sRGB",
        b"iCCP",
        b"cICP",
        b"mDCV",
        b"cLLI",
        b"sBIT",
        b"bKGD",
        b"pHYs",
        b"hIST",
    }
    | {b"acTL", b"fcTL", b"fdAT"}
)
_ANCILLARY = 0x20
_PIECE = 1024 * 1024


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start, end) up to IEND."""
    at = 8
    while True:
        length, kind = unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise InvalidImage("The PNG image is truncated.")
        yield kind, at, end
        if kind == b"IEND":
            return
        at = end


def header(data: bytes) -> Header:
    """Read IHDR and what the other chunks say. Raises InvalidImage; struct.error when cut short."""
    if data[12:16] != b"IHDR":
        raise InvalidImage("The PNG image does not begin with its header.")
    width, height, bits, colour = unpack_from(">IIBB", data, 16)
    exif, frames, transparent = b"", 1, False
    for kind, start, end in bounded(chunks(data)):
        if kind == b"eXIf":
            exif = data[start + 8 : end - 4]
        elif kind == b"acTL":
            frames = max(1, int(unpack_from(">I", data, start + 8)[0]))
        elif kind == b"tRNS":
            transparent = True
    return Header(
        media_type="image/png",
        width=width,
        height=height,
        frames=frames,
        mode=_MODES.get(colour, "unknown"),
        bits=bits,
        orientation=orientation(exif),
        has_alpha=transparent or colour in (4, 6),
        plain=bits <= 8,
        exif=exif,
    )


def strip(data: bytes) -> bytes:
    """Drop text, times, EXIF, private chunks and all that follows IEND; the same object if there is none."""
    view = memoryview(data)
    kept: list[bytes | memoryview] = [view[:8]]
    for kind, start, end in bounded(chunks(data)):
        if kind in _CRITICAL or kind in _MEANING:
            kept.append(view[start:end])
        elif not kind[0] & _ANCILLARY:
            raise InvalidImage("The PNG image needs a chunk that no decoder knows.")
    return rejoin(data, kept)


def is_sound(data: bytes) -> bool:
    """Whether checksums and compressed data are whole: Pillow overlooks what libpng and Go's decoder refuse.

    Measured with Pillow 13: it takes a wrong CRC of IDAT, a missing end of the zlib stream and rows too many.
    """
    packed = []
    for kind, start, end in bounded(chunks(data)):
        if crc32(data[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            return False
        if kind == b"IDAT":
            packed.append(data[start + 8 : end - 4])
    return _unpacks(b"".join(packed), *_unpacked_size(data))


def _unpacked_size(data: bytes) -> tuple[int, int]:
    """The least and the most that the rows may be; interlacing adds a filter byte to more and shorter rows."""
    width, height, bits, colour, _, _, interlaced = unpack_from(">IIBBBBB", data, 16)
    size = height * (1 + (width * bits * _SAMPLES.get(colour, 1) + 7) // 8)
    return size, size * 2 + 64 if interlaced else size


def _unpacks(packed: bytes, least: int, most: int) -> bool:
    """Unpack piece by piece: 20 MB may hold a thousand times that."""
    unpacking, size = decompressobj(), 0
    try:
        while not unpacking.eof and size <= most:
            piece = unpacking.decompress(packed, _PIECE)
            packed = unpacking.unconsumed_tail
            if not piece and not packed:
                break
            size += len(piece)
    except ZlibError:
        return False
    return unpacking.eof and not unpacking.unused_data and least <= size <= most
