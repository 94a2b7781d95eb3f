"""BMP: one header and then pixels."""

from struct import unpack_from

from bridge.errors import ImageTooLarge
from bridge.images.containers.base import Header

_PACKED = (1, 2)
# Pillow unpacks run lengths in Python, 0.2 s for each MB (measured with Pillow 13).
_MOST_PACKED = 2 * 1024 * 1024


def header(data: bytes) -> Header:
    """Read the shape. Raises struct.error when cut short."""
    (size,) = unpack_from("<I", data, 14)
    width, height = unpack_from("<HH" if size == 12 else "<ii", data, 18)
    (bits,) = unpack_from("<H", data, 24 if size == 12 else 28)
    if size > 12 and unpack_from("<I", data, 30)[0] in _PACKED and len(data) > _MOST_PACKED:
        raise ImageTooLarge(f"A run-length encoded BMP image may have {_MOST_PACKED // 1024**2} MiB at most.")
    return Header(
        media_type="image/bmp",
        width=width,
        height=abs(height),
        mode="P" if bits <= 8 else "RGB",
        bits=min(bits, 8),
    )
