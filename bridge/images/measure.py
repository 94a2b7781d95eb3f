"""Measure a picture: size, colours, light, sharpness, where the detail lies. It recognises nothing."""

import sys
from dataclasses import replace
from hashlib import blake2b
from math import atan2, cos, hypot, radians

from PIL import Image, ImageChops, ImageFilter, ImageStat

from bridge.images import header, metadata, pixels
from bridge.images.camera import camera, exif
from bridge.images.decoder import open_picture
from bridge.images.limits import ImageLimits
from bridge.images.palette import Palette
from providers.colours import oklab
from providers.measurements import PLACES, Cell, Measurements, Swatch, Tones

SIDE = 384  # longest side of what is measured: enough to tell sharp from soft, cheap to filter
COLOUR_SIDE = 128
# The caller has held the picture to its limits.
_ANY_SIZE = ImageLimits(
    max_bytes=sys.maxsize,
    max_pixels=sys.maxsize,
    max_side=sys.maxsize,
    max_frames=sys.maxsize,
    max_ratio=sys.maxsize,
    heif=True,
)


def measure(data: bytes, *, frame: int = 0, decoded: Image.Image | None = None) -> Measurements:
    """Measure an encoded picture. CPU only: call it in a thread. `frame` of an animation counts from 0.

    `decoded`: the picture itself, where it is at hand.

    Raises InvalidImage and UnsupportedImage for what is no picture, and whatever Pillow raises on bytes that it
    cannot decode: call it inside `decoder.decoding`.
    """
    shape = header.read(data, _ANY_SIZE)
    # Pillow reads what stands beside the pixels too, and fails on a comment that unfolds to more than it likes.
    with decoded or open_picture(shape, metadata.strip(shape.media_type, data)) as picture:
        if shape.index(frame):
            picture.seek(shape.index(frame))
        shot = camera(exif(shape.exif, picture))
        rgb, transparent = _small(picture, shape.orientation)
    width, height = shape.upright
    facts = Measurements(
        width=width,
        height=height,
        media_type=shape.media_type,
        byte_size=len(data),
        frames=1 if shape.media_type == "image/tiff" else shape.frames,  # a TIFF has pages
        transparent=transparent,
        camera=shot,
    )
    return _looks(rgb, facts)


def _small(picture: Image.Image, orientation: int) -> tuple[Image.Image, float]:
    """A small upright copy in sRGB on white, and the share of the picture that is see-through.

    A JPEG is decoded at a fraction of its size in the first place.
    """
    plan = pixels.Plan(picture.size, orientation, picture.info.get("icc_profile"))
    size = _fitted(picture.size)
    picture.draft(None, size)
    small = pixels.unpack(picture, plan)
    small = small if small.size == size else small.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
    transparent = 1 - ImageStat.Stat(small.getchannel("A")).mean[0] / 255 if small.mode == "RGBA" else 0.0
    for step in (pixels.flatten, pixels.turn, pixels.to_srgb):
        small = step(small, plan)
    return small.convert("RGB"), round(transparent, 4)


def _fitted(size: tuple[int, int], side: int = SIDE) -> tuple[int, int]:
    """Never enlarged, except that the filters need three pixels each way."""
    scale = min(1.0, side / max(size))
    return max(3, round(size[0] * scale)), max(3, round(size[1] * scale))


def _looks(rgb: Image.Image, facts: Measurements) -> Measurements:
    """Add to the facts what the pixels show."""
    grey = rgb.convert("L")
    small = rgb.resize(_fitted(rgb.size, COLOUR_SIDE), Image.Resampling.BOX)
    colours = Palette(small)
    swatches = colours.largest()
    tones = grey.histogram()
    contrast = round((_level(tones, 0.95) - _level(tones, 0.05)) / 255, 3)
    fine, coarse = _residue(grey, 1), _residue(grey, 4)
    return replace(
        facts,
        palette=swatches,
        accent=colours.accent(),
        cells=_cells(small, colours, coarse),
        brightness=round(ImageStat.Stat(grey).mean[0] / 255, 3),
        contrast=contrast,
        shadows=round(sum(tones[:26]) / sum(tones), 3),
        highlights=round(sum(tones[242:]) / sum(tones), 3),
        colourfulness=_colourfulness(small),
        warmth=_warmth(swatches),
        sharpness=_sharpness(fine, coarse),
        edges=_edges(grey),
        symmetry=_symmetry(grey),
        tones=_tones(tones, fine, contrast),
        digest=blake2b(small.tobytes(), digest_size=8).hexdigest(),
    )


def _residue(grey: Image.Image, radius: float) -> Image.Image:
    """What a blur takes away: the detail finer than `radius`."""
    return ImageChops.difference(grey, grey.filter(ImageFilter.GaussianBlur(radius)))


def _level(tones: list[int], share: float) -> int:
    """The grey level below which `share` of the pixels lie."""
    left = share * sum(tones)
    for level, count in enumerate(tones):
        left -= count
        if left < 0:
            return level
    return 255


def _cells(small: Image.Image, colours: Palette, detail: Image.Image) -> tuple[Cell, ...]:
    light = small.convert("L").resize((3, 3), Image.Resampling.BOX).tobytes()
    # Scaled up first, because a mean below one grey level would round to nothing.
    busy = detail.point(lambda value: min(255, value * 4)).resize((3, 3), Image.Resampling.BOX).tobytes()
    total = sum(busy)
    return tuple(
        Cell(
            place=place,
            colour=colours.commonest(_part(small.size, at)),
            light=round(light[at] / 255, 3),
            detail=round(busy[at] / total, 3) if total else 0.0,
        )
        for at, place in enumerate(PLACES)
    )


def _part(size: tuple[int, int], at: int) -> tuple[int, int, int, int]:
    row, column = divmod(at, 3)
    width, height = size
    return (width * column // 3, height * row // 3, width * (column + 1) // 3, height * (row + 1) // 3)


def _colourfulness(rgb: Image.Image) -> float:
    """Hasler and Süsstrunk's measure (2003), on a scale where 1 is "extremely colourful"."""
    red, green, blue = rgb.split()
    red_green = ImageStat.Stat(ImageChops.subtract(red, green, 2, 128))
    yellow_blue = ImageStat.Stat(ImageChops.subtract(ImageChops.add(red, green, 2), blue, 2, 128))
    spread = 2 * hypot(red_green.stddev[0], yellow_blue.stddev[0])
    offset = 2 * hypot(red_green.mean[0] - 128, yellow_blue.mean[0] - 128)
    return round(min(1.0, (spread + 0.3 * offset) / 109), 3)


def _warmth(swatches: tuple[Swatch, ...]) -> float:
    """How far the colours lean to orange (1) or to blue (-1), the vivid ones counting more."""
    lean = 0.0
    for swatch in swatches:
        _, a, b = oklab(swatch.rgb)
        lean += swatch.share * hypot(a, b) * cos(atan2(b, a) - radians(62))
    return round(max(-1.0, min(1.0, lean / 0.12)), 3)


def _sharpness(fine: Image.Image, coarse: Image.Image) -> float | None:
    """How much of the detail is fine. Nothing to judge by on a flat picture."""
    wide = ImageStat.Stat(coarse).mean[0]
    return round(min(1.0, ImageStat.Stat(fine).mean[0] / wide), 3) if wide > 0.5 else None


def _edges(grey: Image.Image) -> float:
    inner = grey.filter(ImageFilter.FIND_EDGES).crop((1, 1, grey.width - 1, grey.height - 1))
    return round(sum(inner.histogram()[48:]) / (inner.width * inner.height), 3)


def _symmetry(grey: Image.Image) -> float:
    """Correlation of the picture with its mirror image; 0 when nothing varies."""
    tiny = grey.resize((32, 32), Image.Resampling.BOX)
    values = tiny.tobytes()
    mirrored = tiny.transpose(Image.Transpose.FLIP_LEFT_RIGHT).tobytes()
    mean = sum(values) / len(values)
    spread = sum((value - mean) ** 2 for value in values)
    if spread < len(values):
        return 0.0
    likeness = sum((one - mean) * (other - mean) for one, other in zip(values, mirrored, strict=True))
    return round(max(0.0, likeness / spread), 3)


def _tones(grey: list[int], fine: Image.Image, contrast: float) -> Tones:
    """Few flat tones, as in drawings and screenshots, or continuous ones, as in photographs.

    The bounds were set on some thirty photographs, drawings and scans.
    """
    few = sum(sorted(grey)[-8:]) / sum(grey)
    still = sum(fine.histogram()[:2]) / (fine.width * fine.height)
    if still > 0.55 and (few > 0.95 or (few > 0.6 and contrast > 0.25)):
        return "flat"
    return "continuous" if few < 0.4 or still < 0.5 else "mixed"
