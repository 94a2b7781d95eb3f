"""The header of an image, and helpers that every format reader uses."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import error as StructError
from struct import unpack_from
from typing import TypeVar

from bridge.images.limits import Size, malformed

T = TypeVar("T")
_MAX_PARTS = 65_536  # a 20 MB file has some thousand chunks; a million empty ones would only consume CPU
_ORIENTATION, _SHORT = 0x0112, 3


@dataclass(frozen=True, slots=True)
class Header:
    """The properties of an image that are known without decoding it.

    `size`: as stored, before `orientation` (EXIF, 1 to 8) is applied; None if only the image worker reads the format.
    `plain`: opaque, not animated, not CMYK, 8 bits per sample: every decoder reads it. `scans`: passes over all pixels.
    """

    media_type: str
    size: Size | None = None
    orientation: int = 1
    plain: bool = False
    scans: int = 1

    @property
    def upright(self) -> Size | None:
        return self.size and upright(self.size, self.orientation)


def upright(size: Size, orientation: int) -> Size:
    """Apply an EXIF orientation to a size: 5 to 8 swap width and height. A second call reverses the first."""
    return size[::-1] if orientation >= 5 else size


def title(media_type: str) -> str:
    """Return the display name of a format, such as "JPEG"."""
    return {"image/webp": "WebP"}.get(media_type, media_type.removeprefix("image/").upper())


def bounded(parts: Iterable[T]) -> Iterator[T]:
    """Yield the parts of a file. Raises Rejected if there are too many."""
    for count, part in enumerate(parts):
        if count == _MAX_PARTS:
            raise malformed("The image consists of too many parts.")
        yield part


def rejoin(data: bytes, kept: list[bytes | memoryview]) -> bytes:
    """Join the kept parts. Return the same object if nothing was dropped."""
    return data if sum(map(len, kept)) == len(data) else b"".join(kept)


def exif_orientation(exif: bytes) -> int:
    """Return the orientation (1 to 8) in an EXIF block, 1 if the block has none or is damaged."""
    block = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    try:
        if order is None or unpack_from(f"{order}H", block, 2)[0] != 42:
            return 1
        (start,) = unpack_from(f"{order}I", block, 4)
        (count,) = unpack_from(f"{order}H", block, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = unpack_from(f"{order}HHIH", block, entry)
            if (tag, kind) == (_ORIENTATION, _SHORT):
                return value if 1 <= value <= 8 else 1
    except StructError:
        pass
    return 1
