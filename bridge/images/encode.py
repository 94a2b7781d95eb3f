"""Encode an image as a target accepts it, in the image worker."""

from collections.abc import Iterator
from io import BytesIO

from PIL import Image

from bridge.images.job import Job
from bridge.images.limits import Rejected
from bridge.images.pixels import is_graphic, resize

_QUALITIES = (90, 80, 65)
_SMALLEST = 64  # pixels of the longer side; a smaller image would show too little
_STEP = 0.7
_LOSSY = ("image/jpeg", "image/avif", "image/heic")


def encode(image: Image.Image, job: Job) -> tuple[str, bytes, Image.Image]:
    """Encode an L or RGB image within the byte limit: as PNG for a graphic from a lossless format, otherwise as JPEG.

    First the quality is lowered, then the size. Returns the media type, the bytes, and the image at its final size.
    Raises Rejected if nothing fits.
    """
    image.info = {}  # Pillow would write the comments and profiles in it
    as_png = job.media_type not in _LOSSY and is_graphic(image)
    while True:
        for media_type, data in _encodings(image, as_png):
            if job.max_bytes is None or len(data) <= job.max_bytes:
                return media_type, data, image
        smaller = round(image.width * _STEP), round(image.height * _STEP)
        if max(smaller) < _SMALLEST or min(smaller) < 1:
            raise Rejected("image_too_large", "The image cannot be reduced to the byte limit of the chosen model.")
        image = resize(image, smaller)


def _encodings(image: Image.Image, as_png: bool) -> Iterator[tuple[str, bytes]]:
    """Yield encodings lazily, the best one first. Every model accepts JPEG and PNG."""
    if as_png:
        yield "image/png", _saved(image, "PNG")
    for quality in _QUALITIES:
        yield "image/jpeg", _saved(image, "JPEG", quality=quality, subsampling="4:2:0")


def _saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
