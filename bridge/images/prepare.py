"""Convert a received image for a target, in an image worker unless only its metadata has to be removed."""

from dataclasses import dataclass
from functools import partial

from bridge.images.decoder import DecoderPool
from bridge.images.formats import jpeg
from bridge.images.formats.header import Header
from bridge.images.inspect import FORMATS, parsing
from bridge.images.job import Job, fitted
from bridge.images.limits import MAX_SIDE, ImageLimits, Size
from bridge.images.sources import Source, off_loop
from providers.base import Image, PixelStatistics
from providers.profiles import ImageProfile

PRESETS: dict[str, Size] = {
    "SD_VGA": (640, 480),
    "HD_720P": (1280, 720),
    "FHD_1080P": (1920, 1080),
    "QHD_1440P": (2560, 1440),
    "UHD_4K": (3840, 2160),
    "UHD_8K": (7680, 4320),
}


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image in the form to send, and descriptions of the changes."""

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
    """Convert `source` to an image that fits `profile`. Raises ImageError.

    `resize`: a name of `PRESETS`, "NONE", or None for the profile's size. `caller`: identifies the caller, because
    busy image workers serve callers in turn. `statistics`: measure the pixels for `image.statistics`.
    """
    header, data, intact = source.header, source.data, False
    passes = _passes(header, resize, profile)
    if header.media_type in FORMATS:
        strip = partial(_stripped, header, data, check_intact=passes and not statistics)
        data, intact = await off_loop(len(data), strip)
    passes = passes and (profile.max_bytes is None or len(data) <= profile.max_bytes)
    dropped = ("metadata dropped",) if data is not source.data else ()
    if passes and intact and header.upright:
        return Prepared(Image(data, header.media_type, *header.upright), dropped)
    job = Job(
        header.media_type,
        limits,
        size=header.size,
        orientation=header.orientation,
        verify=passes,
        box=_box(resize, profile),
        max_bytes=profile.max_bytes,
        statistics=statistics,
    )
    result, encoded = await decoder.run(job, data, caller)
    measured = None
    if statistics:
        colours = tuple((name, share) for name, share in result.colours)
        measured = PixelStatistics(*result.source_size, colours, result.brightness)
    image = Image(encoded or data, result.media_type or header.media_type, *result.size, measured)
    return Prepared(image, (*result.actions, *dropped))


def _passes(header: Header, resize: str | None, profile: ImageProfile) -> bool:
    """Return whether the image needs no conversion for the model. The bytes are not checked here."""
    return (
        header.upright is not None
        and header.media_type in profile.media_types
        and header.plain
        and header.orientation == 1
        and header.upright == fitted(header.upright, _box(resize, profile))
    )


def _box(preset: str | None, profile: ImageProfile) -> Size:
    """Return the limits of both sides. The preset "NONE" removes the profile's size, not the provider's limit."""
    sides = [side for side in (None if preset == "NONE" else profile.size, profile.max_side) if side is not None]
    long, short = PRESETS.get(preset or "NONE", (MAX_SIDE, MAX_SIDE))
    return min([long, *sides]), min([short, *sides])


def _stripped(header: Header, data: bytes, *, check_intact: bool) -> tuple[bytes, bool]:
    """Return the bytes without metadata, and whether they can certainly be decoded.

    `check_intact`: whether to check the latter, which is possible only for a simple JPEG.
    """
    with parsing(header.media_type):
        if check_intact and header.media_type == "image/jpeg":
            return jpeg.strip_and_check(data)
        return FORMATS[header.media_type].strip(data), False
