"""The steps that pixels may need. Each returns the very same picture when it has nothing to do."""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import cast

from PIL import Image, ImageChops, ImageCms

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WHITE = (255, 255, 255)
_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
# Neighbours that are exactly alike: 10–45 % of the pixels in photographs, over 80 % in screenshots and charts
# (measured on scikit-image's pictures).
_FLAT = 0.6


@dataclass(frozen=True, slots=True)
class Plan:
    """What the steps need to know: the size before the turn, EXIF's orientation, the ICC profile."""

    size: tuple[int, int]
    orientation: int = 1
    icc: bytes | None = None


def unpack(picture: Image.Image, plan: Plan) -> Image.Image:
    """Bring any mode to one of L, RGB, RGBA, CMYK with eight bits a sample."""
    if picture.has_transparency_data:
        return picture if picture.mode == "RGBA" else picture.convert("RGBA")
    if picture.mode in ("L", "RGB", "CMYK"):
        return picture
    if picture.mode == "1":
        return picture.convert("L")
    if picture.mode == "F" or picture.mode.startswith("I"):
        return _eight_bits(picture)
    return _from_lab(picture) if picture.mode == "LAB" else picture.convert("RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Scale deep greys: Pillow's own conversion cuts everything above 255 off (measured with Pillow 13)."""
    deep = picture.convert("F")
    full = 65535.0 if picture.mode.startswith("I;16") else _white(deep)
    return deep.point(lambda value: value * (255 / full) + 0.5).convert("L")


def _white(deep: Image.Image) -> float:
    """Guess what counts as white where the mode does not say: the least usual maximum that holds every value."""
    _, highest = cast(tuple[float, float], deep.getextrema())
    return next((white for white in (1.0, 255.0, 65535.0) if highest <= white), 4294967295.0)


def _from_lab(picture: Image.Image) -> Image.Image:
    return _transform(picture, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))


def flatten(picture: Image.Image, plan: Plan) -> Image.Image:
    """Lay a transparent picture on white: llama.cpp shows models noise instead (NousResearch/hermes-agent#64548)."""
    if picture.mode != "RGBA":
        return picture
    ground = Image.new("RGB", picture.size, _WHITE)
    ground.paste(picture, mask=picture.getchannel("A"))
    return ground


def shrink(picture: Image.Image, plan: Plan) -> Image.Image:
    """Resize to the plan's size."""
    return picture if picture.size == plan.size else resized(picture, plan.size)


def resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize to a smaller size."""
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def turn(picture: Image.Image, plan: Plan) -> Image.Image:
    """Apply EXIF's orientation: servers do not (ollama/ollama#18418)."""
    return picture.transpose(_TURNS[plan.orientation]) if plan.orientation in _TURNS else picture


def to_srgb(picture: Image.Image, plan: Plan) -> Image.Image:
    """Convert to sRGB by the ICC profile; by Pillow's rule when it is missing, broken or another space's."""
    if plan.icc:
        try:
            profile = ImageCms.ImageCmsProfile(BytesIO(plan.icc))
            if profile.profile.xcolor_space.strip() == _SPACES[picture.mode]:
                return picture if _is_srgb(profile) else _transform(picture, profile)
        except (ImageCms.PyCMSError, OSError):
            pass
    return picture if picture.mode in ("L", "RGB") else picture.convert("RGB")


# In the order in which they cost least; flattening comes before the turn to sRGB because white is white in both.
STEPS: tuple[tuple[str, Callable[[Image.Image, Plan], Image.Image]], ...] = (
    ("unpacked", unpack),
    ("flattened", flatten),
    ("resized", shrink),
    ("rotated", turn),
    ("converted to sRGB", to_srgb),
)


def _is_srgb(profile: ImageCms.ImageCmsProfile) -> bool:
    return ImageCms.getProfileDescription(profile).startswith("sRGB")


def _transform(picture: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    converted = ImageCms.profileToProfile(picture, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    return converted or picture


def is_graphic(picture: Image.Image) -> bool:
    """Whether it is drawn or written rather than photographed: mostly runs of one colour."""
    grey = picture.convert("L")
    width, height = grey.size
    if width < 2:
        return True
    alike = ImageChops.difference(grey.crop((1, 0, width, height)), grey.crop((0, 0, width - 1, height)))
    return alike.histogram()[0] > _FLAT * (width - 1) * height
