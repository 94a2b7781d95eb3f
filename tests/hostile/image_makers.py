"""Make valid and damaged images of every format: the functions that `images.toml` refers to."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

from PIL import Image

from tests.images.samples import saved


@cache
def photo(mode: str = "RGB", width: int = 64, height: int = 48) -> Image.Image:
    """Return reproducible noise, which Pillow's own noise is not."""
    rgb = Image.frombytes("RGB", (width, height), random.Random(width * height).randbytes(width * height * 3))
    if mode == "LAB":
        return Image.frombytes("LAB", rgb.size, rgb.tobytes())
    if mode == "I;16":
        return Image.frombytes("I;16", rgb.size, rgb.tobytes()[: width * height * 2])
    if mode in ("F", "I"):
        return rgb.convert("L").convert(mode)
    return rgb.convert(mode)


def frames(count: int) -> dict[str, Any]:
    return {"save_all": True, "append_images": [Image.new("RGB", (64, 48), (n, 0, 255 - n)) for n in range(1, count)]}


def heic(**options: Any) -> bytes:
    import pillow_heif

    sink = io.BytesIO()
    pillow_heif.from_pillow(photo()).save(sink, **options)
    return sink.getvalue()


FORMATS: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: saved(photo(), "JPEG"),
    "jpeg progressive": lambda: saved(photo(), "JPEG", progressive=True),
    "png": lambda: saved(photo(), "PNG"),
    "png palette": lambda: saved(photo("P"), "PNG", transparency=3),
    "apng": lambda: saved(photo(), "PNG", **frames(4)),
    "webp": lambda: saved(photo(), "WEBP"),
    "webp lossless": lambda: saved(photo(), "WEBP", lossless=True),
    "webp animated": lambda: saved(photo(), "WEBP", **frames(4)),
    "gif": lambda: saved(photo("P"), "GIF"),
    "gif animated": lambda: saved(photo("P"), "GIF", **frames(4)),
    "bmp": lambda: saved(photo(), "BMP"),
    "tiff": lambda: saved(photo(), "TIFF"),
    "tiff lzw": lambda: saved(photo(), "TIFF", compression="tiff_lzw"),
    "tiff deflate": lambda: saved(photo(), "TIFF", compression="tiff_adobe_deflate"),
    "tiff jpeg": lambda: saved(photo(), "TIFF", compression="jpeg"),
    "tiff pages": lambda: saved(photo(), "TIFF", **frames(4)),
    "avif": lambda: saved(photo(), "AVIF", speed=10),
    "avif animated": lambda: saved(photo(), "AVIF", speed=10, **frames(4)),
    "heic": heic,
    "heic tiles": lambda: heic(tile_size=32),
}


@cache
def encoded(sample: str) -> bytes:
    return FORMATS[sample]()


def valid(sample: str) -> bytes:
    return encoded(sample)


def truncated(sample: str, at: float) -> bytes:
    """Return the first part of a sample."""
    return encoded(sample)[: int(len(encoded(sample)) * at)]


def flipped(sample: str, at: float) -> bytes:
    """Return a sample with one inverted byte."""
    data = bytearray(encoded(sample))
    data[int(len(data) * at)] ^= 0xFF
    return bytes(data)


def zeroed(sample: str, at: float) -> bytes:
    """Return a sample that ends in zeros, as after an interrupted download."""
    data = encoded(sample)
    return data[: int(len(data) * at)].ljust(len(data), b"\0")


def mode(image_format: str, mode: str, **options: Any) -> bytes:
    """Return an image in one of Pillow's modes."""
    return saved(photo(mode), image_format, **options)


def plain(image_format: str, width: int, height: int, **options: Any) -> bytes:
    """Return a valid image of one colour."""
    return saved(Image.new("RGB", (width, height), (90, 120, 150)), image_format, **options)


def wrong_size(sample: str, width: int, height: int) -> bytes:
    """Return a sample with another size in its header."""
    data = bytearray(encoded(sample))
    kind = sample.partition(" ")[0]
    if kind == "jpeg":
        at = next(data.index(bytes([0xFF, mark])) for mark in (0xC0, 0xC2) if bytes([0xFF, mark]) in data)
        struct.pack_into(">HH", data, at + 5, height & 0xFFFF, width & 0xFFFF)
    elif kind in ("png", "apng"):
        struct.pack_into(">II", data, 16, width, height)
        struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    elif kind == "gif":
        struct.pack_into("<HH", data, 6, width & 0xFFFF, height & 0xFFFF)
    elif kind == "bmp":
        struct.pack_into("<ii", data, 18, width, height)
    elif kind in ("avif", "heic"):
        struct.pack_into(">II", data, data.index(b"ispe") + 8, width, height)
    elif sample == "webp lossless":
        struct.pack_into("<I", data, 21, (width - 1 & 0x3FFF) | (height - 1 & 0x3FFF) << 14)
    elif kind == "webp":
        struct.pack_into("<HH", data, 26, width & 0x3FFF, height & 0x3FFF)
    else:
        for tag, value in ((256, width), (257, height)):
            at = next(data.index(mark) for form in (3, 4) if (mark := struct.pack("<HHI", tag, form, 1)) in data)
            struct.pack_into("<HHII", data, at, tag, 4, 1, value)
    return bytes(data)


def raw(text: str = "", hex: str = "", times: int = 1, pad: int = 0) -> bytes:
    """Return the bytes that the row contains."""
    return (text.encode() or bytes.fromhex(hex)) * times + bytes(pad)
