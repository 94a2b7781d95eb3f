"""Read PNG as a list of chunks (W3C PNG, third edition)."""

from collections.abc import Iterator
from struct import unpack_from
from zlib import crc32, decompressobj
from zlib import error as ZlibError

from bridge.images.formats.header import Header, bounded, exif_orientation, rejoin
from bridge.images.limits import malformed

_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
# Ancillary chunks that affect colours and transparency. All others (text, time, EXIF, private) are dropped.
_MEANING = frozenset(b"tRNS gAMA cHRM sRGB iCCP cICP mDCV cLLI sBIT bKGD pHYs hIST acTL fcTL fdAT".split())
_ANCILLARY = 0x20
_PIECE = 1024 * 1024


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, start, end) up to IEND."""
    at = 8
    while True:
        length, kind = unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise malformed("The PNG image is truncated.")
        yield kind, at, end
        if kind == b"IEND":
            return
        at = end


def inspect(data: bytes) -> Header:
    """Read IHDR and the chunks that affect `Header`."""
    if data[12:16] != b"IHDR":
        raise malformed("The PNG image does not begin with its header.")
    width, height, bits, colour = unpack_from(">IIBB", data, 16)
    plain, orientation = bits <= 8 and colour in (0, 2, 3), 1
    for kind, start, end in bounded(chunks(data)):
        if kind == b"eXIf":
            orientation = exif_orientation(data[start + 8 : end - 4])
        elif kind in (b"acTL", b"tRNS"):
            plain = False
    return Header("image/png", (width, height), orientation, plain)


def strip(data: bytes) -> bytes:
    """Drop text, times, EXIF, private chunks and everything after IEND."""
    view = memoryview(data)
    kept: list[bytes | memoryview] = [view[:8]]
    for kind, start, end in bounded(chunks(data)):
        if kind in _CRITICAL or kind in _MEANING:
            kept.append(view[start:end])
        elif not kind[0] & _ANCILLARY:
            raise malformed("The PNG image needs a chunk that no decoder knows.")
    return rejoin(data, kept)


def is_sound(data: bytes) -> bool:
    """Return whether checksums are correct and the compressed data is complete. The image worker calls this.

    Pillow 13 does not detect such errors in IDAT. Servers that decode with libpng or Go would reject the image.
    """
    packed = []
    for kind, start, end in bounded(chunks(data)):
        if crc32(data[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            return False
        if kind == b"IDAT":
            packed.append(data[start + 8 : end - 4])
    width, height, bits, colour, _, _, interlaced = unpack_from(">IIBBBBB", data, 16)
    size = height * (1 + (width * bits * _SAMPLES.get(colour, 1) + 7) // 8)
    # Interlacing adds rows, each with a filter byte.
    return _inflates(b"".join(packed), size, size * 2 + 64 if interlaced else size)


def _inflates(packed: bytes, least: int, most: int) -> bool:
    """Return whether the rows inflate to between `least` and `most` bytes. They are not kept: they may be 20 GB."""
    stream, size = decompressobj(), 0
    try:
        while not stream.eof and size <= most:
            piece = stream.decompress(packed, _PIECE)
            packed = stream.unconsumed_tail
            if not piece and not packed:
                break
            size += len(piece)
    except ZlibError:
        return False
    return stream.eof and not stream.unused_data and least <= size <= most
