"""Photos of 12 megapixels prepared for common targets, beside the same by Pillow alone."""

import asyncio
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from statistics import median
from time import process_time

from PIL import Image

from benchmarks.photos import phone_photo, saved, twelve_megapixels
from benchmarks.report import SPREAD, Report, Table, Target, spread
from bridge.images import sources
from bridge.images.decoder import DecoderPool
from bridge.images.limits import MIB, ImageLimits
from bridge.images.prepare import prepare
from providers.profiles import ImageProfile

QUALITY = 90
RUNS = 9
_LIMITS = ImageLimits()


def run() -> Report:
    """Measure the CPU of this process and of the image worker, in turns."""
    return asyncio.run(_run())


async def _run() -> Report:
    decoder = DecoderPool(1, 1024 * MIB, 20)
    try:
        large = await _compare(decoder, twelve_megapixels(), 1024, _drafted)
        phone = await _compare(decoder, phone_photo(), 2048, _resized)
    finally:
        await decoder.aclose()
    table = Table(("CPU", *SPREAD[1:]), tuple(spread(name, values) for name, values in (large | phone).items()))
    return Report(
        "Preparing images",
        [table],
        [
            _target("12 megapixels for 1024 px, of Pillow's draft, resize, encode", 1.0, large),
            _target("4032 × 3024 (1.5 MB) for 2048 px, of Pillow's decode, resize, encode", 0.2, phone),
        ],
    )


async def _compare(
    decoder: DecoderPool, data: bytes, side: int, by_pillow: Callable[[bytes, int], bytes]
) -> dict[str, list[float]]:
    """Return milliseconds of CPU by way, the bridge's first."""
    ours: list[float] = []
    theirs: list[float] = []
    await _prepared(decoder, data, side)
    for _ in range(RUNS):
        before = _cpu()
        await _prepared(decoder, data, side)
        between = _cpu()
        by_pillow(data, side)
        ours.append(between - before)
        theirs.append(_cpu() - between)
    return {f"the bridge, worker included, {side} px": ours, f"Pillow, {side} px": theirs}


def _target(name: str, most: float, spent: dict[str, list[float]]) -> Target:
    ours, theirs = map(median, spent.values())
    return Target(f"CPU of preparing {name}", most, ours / theirs, "×")


def _cpu() -> float:
    """Return the CPU of this process and of its children that run, in milliseconds."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    nanoseconds = sum(int(Path(f"/proc/{child}/schedstat").read_text().split()[0]) for child in children)
    return process_time() * 1000 + nanoseconds / 1e6


async def _prepared(decoder: DecoderPool, data: bytes, side: int) -> bytes:
    source = sources.from_upload(data, _LIMITS)
    prepared = await prepare(source, ImageProfile(size=side), resize=None, limits=_LIMITS, decoder=decoder)
    return prepared.image.data


def _drafted(data: bytes, side: int) -> bytes:
    with Image.open(BytesIO(data)) as image:
        size = side, round(side * image.height / image.width)
        image.draft("RGB", size)
        return saved(image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0), quality=QUALITY)


def _resized(data: bytes, side: int) -> bytes:
    with Image.open(BytesIO(data)) as image:
        size = side, round(side * image.height / image.width)
        return saved(image.resize(size, Image.Resampling.LANCZOS), quality=QUALITY)
