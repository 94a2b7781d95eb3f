"""Make decompression bombs and format-specific malformed files."""

import struct
import zlib
from typing import Any

from PIL import Image

from tests.hostile.image_makers import encoded, photo
from tests.images.samples import jpeg_segment as segment
from tests.images.samples import png_chunk as chunk
from tests.images.samples import saved

PNG = b"\x89PNG\r\n\x1a\n"


def entry(tag: int, kind: int, count: int, value: int) -> bytes:
    return struct.pack("<HHII", tag, kind, count, value)


def directory(*entries: bytes, following: int = 0) -> bytes:
    return struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", following)


def tiff_of(*entries: bytes, following: int = 0, data: bytes = b"") -> bytes:
    return b"II*\0" + struct.pack("<I", 8) + directory(*entries, following=following) + data


def grey(width: int, height: int, *entries: bytes) -> list[bytes]:
    """Return the tags of an 8-bit grey page."""
    return [entry(256, 4, 1, width), entry(257, 4, 1, height), entry(258, 3, 1, 8), entry(262, 3, 1, 1), *entries]


def png_bomb(width: int, height: int, size: int) -> bytes:
    """Return a PNG of this size whose data decompresses to `size` zeros."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = zlib.compress(bytes(size), 9)
    return PNG + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def png_with_chunks(kind: str, size: int = 0, text: str = "", packed: bool = True, times: int = 1) -> bytes:
    """Return a PNG with additional chunks that contain `text`, or decompress to `size` zeros."""
    words = text.encode() or bytes(size)
    opening = {"zTXt": b"a\0\0", "iCCP": b"a\0\0", "iTXt": b"a\0\1\0\0\0", "eXIf": b""}.get(kind, b"a\0")
    extra = chunk(kind.encode(), opening + (zlib.compress(words) if packed else words)) * times
    return encoded("png")[:33] + extra + encoded("png")[33:]


def jpeg_scans(width: int, height: int, scans: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated."""
    data = saved(Image.new("RGB", (width, height), (90, 120, 150)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * (scans - data.count(b"\xff\xda") + 1) + data[-2:]


def jpeg_mpo() -> bytes:
    return saved(photo(), "MPO", save_all=True, append_images=[photo("L").convert("RGB")])


def exif_bomb(sample: str, entries: int, value_bytes: int) -> bytes:
    """Return an image with EXIF tags that all refer to the same bytes."""
    block = tiff_of(*[entry(40_000 + n, 7, value_bytes, 10) for n in range(entries)])
    return with_exif(sample, block.ljust(60_000, b"\0"))


def with_exif(sample: str, block: bytes) -> bytes:
    data = encoded(sample)
    if sample == "jpeg":
        return data[:20] + segment(0xE1, b"Exif\0\0" + block) + data[20:]
    if sample == "png":
        return data[:33] + chunk(b"eXIf", block) + data[33:]
    options: dict[str, Any] = {"exif": block}
    return saved(photo(), sample.upper(), **options)


def gif_frames(count: int, width: int = 1, height: int = 1) -> bytes:
    """Return a GIF with `count` frames of one pixel on a canvas."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2L\1\0"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + frame * count + b";"


def tiff_loop(length: int) -> bytes:
    """Return a TIFF whose directories form a cycle."""
    size = 2 + 12 * 4 + 4
    pages = [directory(*grey(4, 4), following=8 + size * ((n + 1) % length)) for n in range(length)]
    return b"II*\0" + struct.pack("<I", 8) + b"".join(pages)


def tiff_overlap(directories: int, entries: int) -> bytes:
    """Return a TIFF with overlapping directories of thousands of entries."""
    data = bytearray(b"\xff" * (8 + 4 * directories) + bytes(2 + entries * 12 + 8))
    data[:8] = b"II*\0" + struct.pack("<I", 8)
    for n in range(directories):
        struct.pack_into("<H", data, 8 + 4 * n, entries)
        struct.pack_into("<H", data, 10 + 4 * n, entries)
    for n in range(directories):
        struct.pack_into("<I", data, 10 + 4 * n + entries * 12, 12 + 4 * n)
    return bytes(data)


def tiff_tile(tile: int, kind: int = 4, side: int = 16) -> bytes:
    """Return a TIFF with one tile of zeros that is larger than the image."""
    packer = zlib.compressobj(9)
    data = b"".join([packer.compress(bytes(tile)) for _ in range(tile)]) + packer.flush()
    at = 8 + 2 + 12 * 9 + 4
    size = entry(322, kind, 1, tile), entry(323, kind, 1, tile)
    tiles = entry(324, 4, 1, at), entry(325, 4, 1, len(data))
    return tiff_of(*grey(side, side)[:3], entry(259, 3, 1, 8), entry(262, 3, 1, 1), *size, *tiles, data=data)
