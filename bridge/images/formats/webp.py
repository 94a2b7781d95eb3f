"""Read WebP as a list of RIFF chunks (RFC 9649)."""

from collections.abc import Iterator
from struct import pack, unpack_from

from bridge.images.formats.header import Header, bounded, exif_orientation
from bridge.images.limits import Size, malformed

_KEPT = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"})
_ALPHA, _EXIF, _XMP = 0x10, 0x08, 0x04


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, start, end) with padding, up to the end that RIFF declares."""
    whole = 8 + int(unpack_from("<I", data, 4)[0])
    if whole > len(data) + 1:  # some writers leave out the last padding byte
        raise malformed("The WebP image is truncated.")
    at = 12
    while at + 8 <= min(whole, len(data)):
        kind, size = unpack_from("<4sI", data, at)
        end = at + 8 + size + size % 2
        if end > whole + 1:
            raise malformed("The WebP image is truncated.")
        yield kind, at, end
        at = end


def inspect(data: bytes) -> Header:
    """Read the size, and the chunks that affect `Header`."""
    canvas: tuple[Size, bool] | None = None
    animated, orientation = False, 1
    for kind, start, end in bounded(chunks(data)):
        canvas = canvas or _canvas(data, kind, start + 8)
        animated = animated or kind == b"ANMF"
        if kind == b"EXIF":
            orientation = exif_orientation(data[start + 8 : end])
    if canvas is None:
        raise malformed("The WebP file holds no image.")
    size, alpha = canvas
    return Header("image/webp", size, orientation, plain=not alpha and not animated)


def _canvas(data: bytes, kind: bytes, at: int) -> tuple[Size, bool] | None:
    """Return the size and whether there is alpha. None if this kind of chunk contains neither."""
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[i : i + 3], "little") + 1 for i in (at + 4, at + 7))
        return (width, height), bool(data[at] & _ALPHA)
    if kind == b"VP8L":
        (bits,) = unpack_from("<I", data, at + 1)
        return ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1), bool(bits >> 28 & 1)
    if kind == b"VP8 ":
        width, height = unpack_from("<HH", data, at + 6)
        return (width & 0x3FFF, height & 0x3FFF), False
    return None


def strip(data: bytes) -> bytes:
    """Drop EXIF, XMP, unknown chunks and everything after the end."""
    kept = []
    for kind, start, end in bounded(chunks(data)):
        if kind == b"VP8X":
            flags = bytes([data[start + 8] & ~(_EXIF | _XMP)])
            kept.append(data[start : start + 8] + flags + data[start + 9 : end])
        elif kind in _KEPT:
            kept.append(data[start:end].ljust(end - start, b"\0"))
    body = b"WEBP" + b"".join(kept)
    stripped = b"RIFF" + pack("<I", len(body)) + body
    return data if stripped == data else stripped
