"""Photos of the sizes that the targets name, made from a sample: enlarged, with noise for the lost detail."""

from functools import cache
from io import BytesIO

from PIL import Image

from benchmarks.running import WORKSPACE

SMALL = WORKSPACE / "datasets" / "samples" / "coffee.jpg"
"""70 KB, 600 x 400: it passes untouched."""


@cache
def twelve_megapixels() -> bytes:
    """4000 x 3000 pixels at quality 90."""
    return _jpeg(_enlarged((4000, 3000)), 90)


@cache
def phone_photo() -> bytes:
    """4032 x 3024 pixels and 1.5 MB, as phones take them; noise that makes it 2.5 MB costs a fifth more."""
    return _jpeg(_enlarged((4032, 3024), noise=0.07), 90)


@cache
def of_bytes(size: tuple[int, int], wanted: int) -> bytes:
    """A photo of `size` in pixels and at most `wanted` bytes, as near to them as JPEG's quality allows."""
    image = _enlarged(size)
    fitting = [data for quality in range(20, 97, 2) if len(data := _jpeg(image, quality)) <= wanted]
    return fitting[-1]


def _enlarged(size: tuple[int, int], noise: float = 0.15) -> Image.Image:
    with Image.open(SMALL) as sample:
        large = sample.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    return Image.blend(large, Image.effect_noise(size, 24).convert("RGB"), noise)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    sink = BytesIO()
    image.save(sink, "JPEG", quality=quality)
    return sink.getvalue()
