"""A picture's shape, read and held to the limits before anything is decoded."""

import struct
from collections.abc import Callable

from bridge.errors import ImageTooLarge, InvalidImage
from bridge.images.containers import avif, bmp, gif, heic, jpeg, png, tiff, webp
from bridge.images.containers.base import Header
from bridge.images.limits import MIB, ImageLimits
from bridge.images.sniff import sniff

__all__ = ["Header", "check_bytes", "read"]

_READERS: dict[str, Callable[[bytes], Header]] = {
    "image/jpeg": jpeg.header,
    "image/png": png.header,
    "image/webp": webp.header,
    "image/gif": gif.header,
    "image/bmp": bmp.header,
    "image/tiff": tiff.header,
    "image/avif": avif.header,
    "image/heic": heic.header,
}
# A picture this small cannot hurt, however well it is packed.
_SMALL = 4_000_000
# Tiles of the right and lower edge are filled up, to less than this in any sensible file.
_MOST_FILLED = 4
# Encoders write about ten; 100 over 50 megapixels take 2 s, and 4 s where they are measured as well.
_PASSES = 20
_MOST_BITS = 32  # a pixel of the largest picture: RGBA. One of 16 bits a sample takes twice the time to refuse


def read(data: bytes, limits: ImageLimits) -> Header:
    """Say what the bytes are, by the bytes alone.

    Raises ImageTooLarge, UnsupportedImage (not a kind that is taken) and InvalidImage (cut or malformed).
    """
    check_bytes(len(data), limits)
    media_type = sniff(data, heif=limits.heif)
    try:
        header = _READERS[media_type](data)
    except (struct.error, IndexError) as error:
        raise InvalidImage("The image is truncated.") from error
    _check(header, len(data), limits)
    return header


def check_bytes(size: int, limits: ImageLimits) -> None:
    """Raise ImageTooLarge when so many encoded bytes are too many."""
    if size > limits.max_bytes:
        raise ImageTooLarge(f"The image is larger than {limits.max_bytes / MIB:.3g} MiB.")


def _check(header: Header, size: int, limits: ImageLimits) -> None:
    width, height = header.width, header.height
    if width < 1 or height < 1:
        raise InvalidImage("The image has no pixels.")
    if max(width, height) > limits.max_side:
        raise ImageTooLarge(f"The image is {width}×{height}; no side may exceed {limits.max_side} pixels.")
    if header.frames > limits.max_frames:
        raise ImageTooLarge(f"The image has {header.frames} frames; {limits.max_frames} are allowed.")
    pixels = width * height * (header.index(limits.frame) + 1)
    if pixels > limits.max_pixels:
        raise ImageTooLarge(f"The image is {width}×{height}; {limits.max_pixels / 1e6:.3g} megapixels are allowed.")
    samples = {"unknown": 4, "YCbCr": 3}.get(header.mode, len(header.mode))
    if width * height * samples * header.bits > limits.max_pixels * _MOST_BITS:
        raise ImageTooLarge(
            f"The image is {width}×{height} of {header.bits} bits a sample, which is more than allowed."
        )
    if width * height * header.passes > limits.max_pixels * _PASSES:
        raise ImageTooLarge(f"The image is {width}×{height} in {header.passes} scans, which is more than allowed.")
    if header.tile > min(max(_SMALL, width * height * _MOST_FILLED), limits.max_pixels):
        raise ImageTooLarge(f"The image is {width}×{height} in tiles that are larger than allowed.")
    unfolded = max(width * height, header.tile)
    if unfolded > _SMALL and unfolded * 3 > size * limits.max_ratio:
        raise ImageTooLarge(f"The image unfolds to more than {limits.max_ratio} times its size.")
