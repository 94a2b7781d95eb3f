"""A photo of 12 megapixels made 1024 pixels wide, beside the same by Pillow alone."""

import asyncio
import time
from collections.abc import Callable
from io import BytesIO
from statistics import median

from PIL import Image

from benchmarks.photos import twelve_megapixels
from benchmarks.report import SPREAD, Promise, Report, Table, spread
from bridge.images import prepare, sources
from bridge.images.limits import ImageLimits
from providers.base import ImageProfile

SIDE = 1024
QUALITY = 90
RUNS = 9
_LIMITS = ImageLimits(max_bytes=20 * 1024 * 1024, max_pixels=50_000_000)


def run() -> Report:
    """CPU of this process, in turns."""
    data = twelve_megapixels()
    ways: dict[str, Callable[[], object]] = {
        "the bridge: checks, resize, encode, in its threads": lambda: asyncio.run(_prepared(data)),
        "Pillow: draft, decode, resize, encode": lambda: _by_pillow(data),
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(RUNS):
        for name, work in ways.items():
            before = time.process_time()
            work()
            spent[name].append((time.process_time() - before) * 1000)
    ours, theirs = map(median, spent.values())
    table = Table(("CPU", *SPREAD[1:]), tuple(spread(name, values) for name, values in spent.items()))
    promise = Promise(f"CPU of preparing 12 megapixels for {SIDE} px, of Pillow's own", 1.2, ours / theirs, "×")
    return Report("Preparing pictures", [table], [promise])


async def _prepared(data: bytes) -> bytes:
    source = sources.from_upload(data, _LIMITS)
    prepared = await prepare.prepare(source, ImageProfile(size=SIDE), resize=None, limits=_LIMITS)
    return prepared.image.data


def _by_pillow(data: bytes) -> bytes:
    sink = BytesIO()
    with Image.open(BytesIO(data)) as picture:
        size = SIDE, round(SIDE * picture.height / picture.width)
        picture.draft("RGB", size)
        small = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
        small.save(sink, "JPEG", quality=QUALITY)
    return sink.getvalue()
