"""What kind of picture some bytes are, by the bytes alone: names and declared types are often wrong."""

import re

from bridge.errors import InvalidImage, UnsupportedImage

TAKEN = "JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF"
_SIGNATURES = (
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), "image/tiff"),
    (re.compile(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL), "image/bmp"),
    (re.compile(rb"....ftyp(avif|avis)", re.DOTALL), "image/avif"),
    # The generic brands are also HEIC's: the compatible ones that follow tell.
    (re.compile(rb"....ftyp(mif1|msf1|miaf)(....){1,10}?avi[fs]", re.DOTALL), "image/avif"),
)
_HEIC = re.compile(rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL)
_OTHERS = (
    (_HEIC, "HEIC, which is optional and not enabled here (the setting GRAPHCAP_HEIF enables it)"),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "), "JPEG XL"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "JPEG 2000"),
    (re.compile(rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI ", re.DOTALL), "a video"),
    (re.compile(rb"%PDF"), "a PDF document"),
    (re.compile(rb"8BPS"), "a Photoshop document"),
    (re.compile(rb"\0\0[\x01\x02]\0"), "an icon"),
    (re.compile(rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!"), "an archive"),
    # Atomic throughout: a comment that could end at any of a hundred marks would be tried at all of them.
    (re.compile(rb"(?is)\s*+(?>(?><\?xml|<!--).*?>\s*+)*+(?><svg|<!doctype\s+svg)"), "SVG"),
    (re.compile(rb"(?is)\s*(<!doctype html|<html|<head|<body)"), "a web page"),
)
_TEXT = re.compile(rb"[\t\n\r\x20-\x7e\x80-\xff]+")


def sniff(data: bytes, *, heif: bool = False) -> str:
    """Return the media type; HEIC only where it is taken.

    Raises InvalidImage when there is nothing, UnsupportedImage for anything else.
    """
    if not data:
        raise InvalidImage("The image is empty.")
    opening = data[:4096].removeprefix(b"\xef\xbb\xbf")
    for pattern, media_type in _SIGNATURES:
        if pattern.match(opening):
            return media_type
    if heif and _HEIC.match(opening):
        return "image/heic"
    raise UnsupportedImage(f"This is {_name(opening)}, not an image that can be read: send {TAKEN}.")


def _name(opening: bytes) -> str:
    for pattern, name in _OTHERS:
        if pattern.match(opening):
            return name
    return "text" if _TEXT.fullmatch(opening[:256]) else "an unknown format"
