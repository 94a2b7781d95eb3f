"""Detect the format of an image from its bytes. File names and declared media types are often wrong."""

import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from bridge.errors import ImageTooLarge, InvalidImage, UnsupportedImage
from bridge.images.decoder import image_error
from bridge.images.formats import jpeg, png, webp
from bridge.images.formats.header import Header, title
from bridge.images.limits import MIB, ImageLimits, Rejected


class Format(NamedTuple):
    """The functions for a format that may be passed on without decoding.

    `strip` returns the same object if nothing is dropped. Both raise Rejected, and struct.error if truncated.
    """

    inspect: Callable[[bytes], Header]
    strip: Callable[[bytes], bytes]


FORMATS = {
    "image/jpeg": Format(jpeg.inspect, jpeg.strip),
    "image/png": Format(png.inspect, png.strip),
    "image/webp": Format(webp.inspect, webp.strip),
}
_ACCEPTED = "JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF"
_SIGNATURES = (
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), "image/tiff"),
    (re.compile(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL), "image/bmp"),
    (re.compile(rb"....ftyp(avif|avis)", re.DOTALL), "image/avif"),
    # HEIC files may have these generic brands, so the compatible brands that follow are checked.
    (re.compile(rb"....ftyp(mif1|msf1|miaf)(....){1,10}?avi[fs]", re.DOTALL), "image/avif"),
)
_HEIC = re.compile(rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL)
_NAMED = (
    (_HEIC, "HEIC"),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "), "JPEG XL"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "JPEG 2000"),
    (re.compile(rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI ", re.DOTALL), "a video"),
    (re.compile(rb"%PDF"), "a PDF document"),
    (re.compile(rb"8BPS"), "a Photoshop document"),
    (re.compile(rb"\0\0[\x01\x02]\0"), "an icon"),
    (re.compile(rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!"), "an archive"),
    # Atomic groups prevent backtracking over the possible ends of a comment.
    (re.compile(rb"(?is)\s*+(?>(?><\?xml|<!--).*?>\s*+)*+(?><svg|<!doctype\s+svg)"), "SVG"),
    (re.compile(rb"(?is)\s*(<!doctype html|<html|<head|<body)"), "a web page"),
)
_TEXT = re.compile(rb"[\t\n\r\x20-\x7e\x80-\xff]+")
_MAX_SCANS_AT_LIMIT = 20  # decoders process all pixels once per scan: 20 scans of 50 megapixels take 2 s


def inspect(data: bytes, limits: ImageLimits) -> Header:
    """Return the format, and for JPEG, PNG and WebP the header, checked against the limits. Raises ImageError."""
    check_bytes(len(data), limits.max_bytes)
    media_type = sniff(data, heif=limits.heif)
    if media_type not in FORMATS:
        return Header(media_type)
    with parsing(media_type):
        header = FORMATS[media_type].inspect(data)
        assert header.size is not None
        limits.check_size(header.size)
        width, height = header.size
        if width * height * header.scans > limits.max_pixels * _MAX_SCANS_AT_LIMIT:
            message = f"The image is {width}×{height} with {header.scans} scans, which is too many."
            raise Rejected("image_too_large", message)
    return header


@contextmanager
def parsing(media_type: str) -> Iterator[None]:
    """Convert the exceptions of a format reader to an ImageError."""
    try:
        yield
    except Rejected as rejected:
        raise image_error(rejected.kind, rejected.message) from None
    except (struct.error, IndexError):
        raise InvalidImage(f"The {title(media_type)} image is truncated.") from None


def check_bytes(size: int, limit: int) -> None:
    """Raise ImageTooLarge if `size`, the bytes of the encoded image, exceeds the limit."""
    if size > limit:
        raise ImageTooLarge(
            f"The image is larger than {limit / MIB:.3g} MiB (GRAPHCAP_MAX_IMAGE_BYTES). Send a smaller one."
        )


def sniff(data: bytes, *, heif: bool = False) -> str:
    """Return the media type. `heif`: whether to accept HEIC. Raises InvalidImage if empty, UnsupportedImage."""
    if not data:
        raise InvalidImage("The image is empty.")
    opening = data[:4096].removeprefix(b"\xef\xbb\xbf")
    for pattern, media_type in _SIGNATURES:
        if pattern.match(opening):
            return media_type
    if heif and _HEIC.match(opening):
        return "image/heic"
    hint = " HEIC is accepted with GRAPHCAP_HEIF=true and the extra 'heif'." if _HEIC.match(opening) else ""
    unknown = "text" if _TEXT.fullmatch(opening[:256]) else "in an unknown format"
    name = next((name for pattern, name in _NAMED if pattern.match(opening)), unknown)
    raise UnsupportedImage(f"The file is {name}, which is not accepted as an image. Send {_ACCEPTED}.{hint}")
