"""Convert a received image to one that a target accepts.

If the image already fits, only its metadata is removed. Any other image is decoded in an image worker.
"""

import asyncio
from dataclasses import dataclass
from functools import partial

from bridge.images.decoder import DecoderPool
from bridge.images.formats import jpeg
from bridge.images.formats.header import Header
from bridge.images.inspect import FORMATS, parsing
from bridge.images.job import Job, fitted
from bridge.images.limits import ImageLimits
from bridge.images.resize import bounds, check_preset
from bridge.images.sources import QUICK, Source
from providers.base import Image, PixelStatistics
from providers.profiles import ImageProfile


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image that is ready to send, and descriptions of the steps that changed it."""

    image: Image
    actions: tuple[str, ...] = ()


async def prepare(
    source: Source,
    profile: ImageProfile,
    *,
    resize: str | None,
    limits: ImageLimits,
    decoder: DecoderPool,
    caller: str = "",
    statistics: bool = False,
) -> Prepared:
    """Make `source` fit `profile`.

    `resize`: a preset of `bridge.images.resize`, "NONE", or None for the profile's size. `caller`: waits for a busy
    image worker in turn with other callers. `statistics`: measure the pixels for `image.statistics`. Raises
    UnknownResize, InvalidImage, ImageTooLarge, UnsupportedImage.
    """
    check_preset(resize)
    header, data, intact = source.header, source.data, False
    passes = _passes(header, resize, profile)
    if header.media_type in FORMATS:
        strip = partial(_stripped, header, data, vouch=passes and not statistics)
        data, intact = strip() if len(data) < QUICK else await asyncio.to_thread(strip)
    passes = passes and (profile.max_bytes is None or len(data) <= profile.max_bytes)
    dropped = ("metadata dropped",) if data is not source.data else ()
    text = "" if dropped else source.text
    if passes and intact and header.upright:
        return Prepared(Image(data, header.media_type, *header.upright, text=text), dropped)
    side, box = bounds(resize, profile)
    job = Job(
        header.media_type,
        limits,
        size=header.size,
        orientation=header.orientation,
        verify=passes,
        side=side,
        box=box,
        media_types=tuple(profile.media_types),
        max_bytes=profile.max_bytes,
        statistics=statistics,
    )
    result, encoded = await decoder.run(job, data, caller)
    measured = (
        PixelStatistics(*result.source_size, tuple((name, share) for name, share in result.colours), result.brightness)
        if statistics
        else None
    )
    if not result.media_type:
        return Prepared(Image(data, header.media_type, *result.size, measured, text), dropped)
    image = Image(encoded, result.media_type, *result.size, measured)
    return Prepared(image, (*result.actions, *dropped))


def _passes(header: Header, resize: str | None, profile: ImageProfile) -> bool:
    """Return whether the target accepts the bytes unchanged, provided that they are well-formed."""
    return (
        header.upright is not None
        and header.media_type in profile.media_types
        and header.plain
        and header.orientation == 1
        and header.upright == fitted(header.upright, *bounds(resize, profile))
    )


def _stripped(header: Header, data: bytes, *, vouch: bool) -> tuple[bytes, bool]:
    """Return the bytes without metadata, and whether they are sure to decode. That is known only for a simple JPEG."""
    with parsing(header.media_type):
        if header.media_type != "image/jpeg":
            return FORMATS[header.media_type].strip(data), False
        if vouch and jpeg.is_intact(data):
            return jpeg.strip(data, one_scan=True), True
        # What follows the end marker does not matter to the image worker.
        stripped = jpeg.strip(data, one_scan=not vouch and header.scans == 1 and data.endswith(b"\xff\xd9"))
        # Data after the end marker must go first; otherwise `is_intact` cannot tell.
        return stripped, vouch and stripped is not data and jpeg.is_intact(stripped)
