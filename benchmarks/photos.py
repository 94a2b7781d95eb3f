"""Photos of the sizes that the targets name, made from a sample: enlarged, with noise for the lost detail."""

from functools import cache
from io import BytesIO

from PIL import Image

from benchmarks.running import WORKSPACE

SMALL = WORKSPACE / "datasets" / "samples" / "coffee.jpg"
"""70 KB, 600 x 400: it passes untouched."""


@cache
def twelve_megapixels() -> bytes:
    """Return a JPEG of 4000 x 3000 pixels at quality 90."""
    return saved(_enlarged((4000, 3000)), quality=90)


@cache
def phone_photo() -> bytes:
    """Return a JPEG of 4032 x 3024 pixels and 1.5 MB, as phones take them. At 2.5 MB it would cost a fifth more."""
    return saved(_enlarged((4032, 3024), noise=0.07), quality=90)


@cache
def of_bytes(size: tuple[int, int], max_bytes: int) -> bytes:
    """Return a JPEG of `size` in pixels and at most `max_bytes`, as near to them as JPEG's quality allows."""
    image = _enlarged(size)
    fitting = [data for quality in range(20, 97, 2) if len(data := saved(image, quality=quality)) <= max_bytes]
    return fitting[-1]


def _enlarged(size: tuple[int, int], noise: float = 0.15) -> Image.Image:
    with Image.open(SMALL) as sample:
        large = sample.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    return Image.blend(large, Image.effect_noise(size, 24).convert("RGB"), noise)


def saved(image: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    """Encode an image."""
    sink = BytesIO()
    image.save(sink, form, **options)
    return sink.getvalue()
