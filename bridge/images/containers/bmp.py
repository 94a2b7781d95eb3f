"""BMP: one header and then pixels."""

from struct import unpack_from

from bridge.images.containers.base import Header


def header(data: bytes) -> Header:
    """Read the shape. Raises struct.error when cut short."""
    (size,) = unpack_from("<I", data, 14)
    width, height = unpack_from("<HH" if size == 12 else "<ii", data, 18)
    (bits,) = unpack_from("<H", data, 24 if size == 12 else 28)
    return Header(
        media_type="image/bmp",
        width=width,
        height=abs(height),
        mode="P" if bits <= 8 else "RGB",
        bits=min(bits, 8),
    )
