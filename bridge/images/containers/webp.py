"""WebP, read as its RIFF chunks."""

from collections.abc import Iterator
from struct import pack, unpack_from

from bridge.errors import InvalidImage
from bridge.images.containers.base import Header, bounded
from bridge.images.containers.tiff import orientation

_KEPT = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"})
_ALPHA, _EXIF, _XMP = 0x10, 0x08, 0x04


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start, end), padding included, up to the end that RIFF states."""
    whole = 8 + int(unpack_from("<I", data, 4)[0])
    if whole > len(data) + 1:  # some writers leave out the last padding byte
        raise InvalidImage("The WebP image is truncated.")
    at = 12
    while at + 8 <= min(whole, len(data)):
        kind, size = unpack_from("<4sI", data, at)
        end = at + 8 + size + size % 2
        if end > whole + 1:
            raise InvalidImage("The WebP image is truncated.")
        yield kind, at, end
        at = end


def header(data: bytes) -> Header:
    """Read the canvas and what the other chunks say. Raises InvalidImage; struct.error when cut short."""
    canvas: tuple[int, int, bool] | None = None
    frames, exif = 0, b""
    for kind, start, end in bounded(chunks(data)):
        canvas = canvas or _canvas(data, kind, start + 8)
        frames += kind == b"ANMF"
        if kind == b"EXIF":
            exif = data[start + 8 : end].removeprefix(b"Exif\0\0")
    if canvas is None:
        raise InvalidImage("The WebP image holds no picture.")
    width, height, alpha = canvas
    return Header(
        media_type="image/webp",
        width=width,
        height=height,
        frames=max(1, frames),
        mode="RGBA" if alpha else "RGB",
        orientation=orientation(exif),
        has_alpha=alpha,
        exif=exif,
    )


def _canvas(data: bytes, kind: bytes, at: int) -> tuple[int, int, bool] | None:
    """Width, height and whether there is alpha, from whichever chunk comes first."""
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[i : i + 3], "little") + 1 for i in (at + 4, at + 7))
        return width, height, bool(data[at] & _ALPHA)
    if kind == b"VP8L":
        (bits,) = unpack_from("<I", data, at + 1)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    if kind == b"VP8 ":
        width, height = unpack_from("<HH", data, at + 6)
        return width & 0x3FFF, height & 0x3FFF, False
    return None


def strip(data: bytes) -> bytes:
    """Drop EXIF, XMP, unknown chunks and all that follows; the same object when there is none of it."""
    kept = []
    for kind, start, end in bounded(chunks(data)):
        if kind == b"VP8X":
            kept.append(data[start : start + 8] + bytes([data[start + 8] & ~(_EXIF | _XMP)]) + data[start + 9 : end])
        elif kind in _KEPT:
            kept.append(data[start:end].ljust(end - start, b"\0"))
    body = b"WEBP" + b"".join(kept)
    stripped = b"RIFF" + pack("<I", len(body)) + body
    return data if stripped == data else stripped
