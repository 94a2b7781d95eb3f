"""What EXIF says of how a picture was taken: an allow-list, so that no place, serial or name gets out."""

import re
import struct
from contextlib import suppress
from datetime import datetime
from math import isfinite

from PIL import Image
from PIL.ExifTags import IFD, Base

from providers.measurements import Camera

# Pillow 13 raises SyntaxError and struct.error on damaged blocks, and the values in sound ones can be of any
# type; none of it makes the pixels unreadable.
BROKEN = (OSError, SyntaxError, ValueError, KeyError, IndexError, TypeError, OverflowError, struct.error)


def exif(block: bytes, image: Image.Image) -> Image.Exif:
    """The EXIF of a block that stood beside the pixels, or the image's own; empty when it cannot be read."""
    tags = Image.Exif()
    with suppress(*BROKEN):
        if not block:
            return image.getexif()
        tags.load(block)
    return tags


def camera(tags: Image.Exif) -> Camera:
    """The facts of the exposure. Unreadable ones are left out."""
    shot: dict[int, object] = {}
    with suppress(*BROKEN):
        shot = tags.get_ifd(IFD.Exif)
    return Camera(
        make=_words(tags.get(Base.Make)),
        model=_words(tags.get(Base.Model)),
        exposure=_number(shot.get(Base.ExposureTime), below=3600),
        aperture=_number(shot.get(Base.FNumber), below=200),
        iso=_whole(shot.get(Base.ISOSpeedRatings)),
        focal_length=_number(shot.get(Base.FocalLength), below=10_000),
        taken_at=_time(shot.get(Base.DateTimeOriginal)),
    )


def _words(value: object) -> str:
    """Short printable text only: anybody can write anything into EXIF."""
    text = re.sub(r"[^A-Za-z0-9 .+()/-]+", " ", str(value)) if isinstance(value, str) else ""
    return " ".join(text.split())[:40].strip()


def _number(value: object, below: float) -> float | None:
    with suppress(*BROKEN, ZeroDivisionError):
        number = float(value)  # type: ignore[arg-type]
        if isfinite(number) and 0 < number < below:
            return number
    return None


def _whole(value: object) -> int | None:
    first = value[0] if isinstance(value, tuple) and value else value
    number = _number(first, below=10_000_000)
    return None if number is None else int(number)


def _time(value: object) -> str:
    with suppress(ValueError):
        return datetime.strptime(str(value).strip("\0 "), "%Y:%m:%d %H:%M:%S").isoformat()  # noqa: DTZ007
    return ""
