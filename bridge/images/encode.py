"""Writing a picture as a target takes it."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from bridge.errors import ImageTooLarge, UnsupportedImage
from bridge.images.pixels import is_graphic, resized
from providers.base import ImageProfile

_QUALITIES = (90, 80, 65)
# Below this a picture says so little that refusing it is kinder.
_SMALLEST = 64
_STEP = 0.7


@dataclass(frozen=True, slots=True)
class Encoded:
    """The bytes, what they are, and their size in pixels."""

    data: bytes
    media_type: str
    size: tuple[int, int]


def encode(picture: Image.Image, profile: ImageProfile, *, lossless_source: bool) -> Encoded:
    """Write an L or RGB picture as JPEG, or PNG when it is drawn and was never lossy, within the byte limit.

    Lower quality is tried first, then a smaller size. Raises ImageTooLarge when nothing fits and
    UnsupportedImage when the target takes no format that can be written.
    """
    picture.info = {}  # Pillow writes comments, profiles and more from here
    graphic = lossless_source and is_graphic(picture)
    while True:
        for media_type, data in _written(picture, profile, graphic):
            if profile.max_bytes is None or len(data) <= profile.max_bytes:
                return Encoded(data, media_type, picture.size)
        smaller = round(picture.width * _STEP), round(picture.height * _STEP)
        if max(smaller) < _SMALLEST or min(smaller) < 1:
            raise ImageTooLarge("The image cannot be made small enough for the chosen model.")
        picture = resized(picture, smaller)


def _written(picture: Image.Image, profile: ImageProfile, graphic: bool) -> Iterator[tuple[str, bytes]]:
    """Yield encodings, the best first, each made only when it is asked for."""
    takes = profile.media_types
    lossy = next((kind for kind in ("image/jpeg", "image/webp") if kind in takes), None)
    if "image/png" in takes and (graphic or lossy is None):
        yield "image/png", _saved(picture, "PNG")
    if lossy:
        for quality in _QUALITIES:
            yield lossy, _lossy(picture, lossy, quality)
    if lossy is None and "image/png" not in takes:
        raise UnsupportedImage("The chosen model takes no image format that the bridge can write.")


def _lossy(picture: Image.Image, media_type: str, quality: int) -> bytes:
    buffer = BytesIO()
    if media_type == "image/webp":
        picture.save(buffer, "WEBP", quality=quality)
    else:
        picture.save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return buffer.getvalue()


def _saved(picture: Image.Image, form: str) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, form)
    return buffer.getvalue()
