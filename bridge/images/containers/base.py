"""What every container tells of its picture, and the care that walking one takes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from bridge.errors import InvalidImage

T = TypeVar("T")
# A 20 MB file has some thousand chunks; one made of a million empty ones only wants to burn time.
MOST_PARTS = 65_536


@dataclass(frozen=True, slots=True)
class Header:
    """A picture's shape as stored, before its orientation is applied.

    `mode`: L, RGB, P, CMYK, LA, RGBA …; `bits`: a sample's; `orientation`: EXIF's 1 to 8; `has_alpha`: pixels
    may be transparent; `plain`: a flavour that every decoder reads (not CMYK, 16 bits, arithmetic coding …);
    `passes`: how often a decoder goes over all pixels; `tile`: pixels of a part that is unfolded whole, where parts
    may be larger than the picture; `exif`: the block as it stands, unless it is the file itself.
    """

    media_type: str
    width: int
    height: int
    frames: int = 1
    mode: str = "RGB"
    bits: int = 8
    orientation: int = 1
    has_alpha: bool = False
    plain: bool = True
    passes: int = 1
    tile: int = 0
    exif: bytes = field(default=b"", repr=False)

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height once the orientation is applied."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)

    def index(self, frame: int) -> int:
        """The frame to use when `frame` is wanted: an animation's last at most, the first of a TIFF's pages."""
        return 0 if self.media_type == "image/tiff" else min(frame, self.frames - 1)

    @property
    def title(self) -> str:
        """The format's name for people: "JPEG"."""
        return {"image/webp": "WebP"}.get(self.media_type, self.media_type.removeprefix("image/").upper())


def bounded(parts: Iterable[T], most: int = MOST_PARTS) -> Iterator[T]:
    """Pass the parts on. Raises InvalidImage after `most`."""
    for count, part in enumerate(parts):
        if count == most:
            raise InvalidImage("The image is made of too many parts.")
        yield part


def rejoin(data: bytes, kept: list[bytes | memoryview]) -> bytes:
    """Join what is kept; the very same object when that is everything."""
    return data if sum(map(len, kept)) == len(data) else b"".join(kept)
