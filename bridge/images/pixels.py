"""Steps that convert pixels, run in the image worker. Each returns the same image if there is nothing to convert."""

from io import BytesIO
from typing import TYPE_CHECKING, cast

from PIL import Image, ImageChops

from bridge.images.limits import Size

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsProfile

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
_FLAT = 0.6  # share of pixels equal to their neighbour: measured 10 to 45 % in photographs, over 80 % in screenshots


def unpack(image: Image.Image) -> Image.Image:
    """Convert any mode to L, RGB, RGBA or CMYK with eight bits a sample."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _eight_bits(image)
    if image.has_transparency_data:
        return image if image.mode == "RGBA" else image.convert("RGBA")
    if image.mode in ("L", "RGB", "CMYK"):
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode == "LAB":
        return _transform(image, None)
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale greys with more than 8 bits to 8. Pillow's own conversion clips values above 255 (Pillow 13).

    A transparent grey of a PNG (tRNS) becomes white, as in `flatten`.
    """
    deep = image.convert("F")
    white = 65535.0
    if not image.mode.startswith("I;16"):
        # No mode defines white: the lowest usual maximum that no pixel exceeds.
        _, highest = cast(tuple[float, float], deep.getextrema())
        white = next((usual for usual in (1.0, 255.0, 65535.0) if highest <= usual), 4294967295.0)
    grey = deep.point(lambda value: value * (255 / white) + 0.5).convert("L")
    transparent = image.info.get("transparency")
    if transparent is not None:
        grey.paste(255, mask=image.convert("I").point([255 * (value == transparent) for value in range(65536)], "L"))
    return grey


def flatten(image: Image.Image) -> Image.Image:
    """Put a transparent image on white, because llama.cpp ignores transparency (NousResearch/hermes-agent#64548)."""
    if image.mode != "RGBA":
        return image
    ground = Image.new("RGB", image.size, (255, 255, 255))
    ground.paste(image, mask=image.getchannel("A"))
    return ground


def resize(image: Image.Image, size: Size) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def rotate(image: Image.Image, orientation: int) -> Image.Image:
    """Apply the EXIF orientation, because servers do not (ollama/ollama#18418)."""
    return image.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else image


def to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Convert to sRGB by the ICC profile, or by Pillow's rule if the profile is missing or unusable."""
    if icc:
        from PIL import ImageCms  # imported here because most images have no profile (7 ms)

        try:
            profile = ImageCms.ImageCmsProfile(BytesIO(icc))
            if profile.profile.xcolor_space.strip() == _SPACES[image.mode]:
                srgb = ImageCms.getProfileDescription(profile).startswith("sRGB")
                return image if srgb else _transform(image, profile)
        except (ImageCms.PyCMSError, OSError):
            pass
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _transform(image: Image.Image, profile: "ImageCmsProfile | None") -> Image.Image:
    """Convert an image to sRGB with an ICC profile (None: from CIE LAB)."""
    from PIL import ImageCms

    source = profile or ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB") or image


def run_steps(image: Image.Image, size: Size, orientation: int) -> tuple[Image.Image, list[str]]:
    """Unpack, flatten, resize, rotate and convert to sRGB. Return the image and the names of the steps that changed it.

    `size`: before the rotation. This order is the fastest; white is the same in every colour space.
    """
    unpacked = unpack(image)
    flattened = flatten(unpacked)
    upright = rotate(resize(flattened, size), orientation)
    result = to_srgb(upright, image.info.get("icc_profile"))
    steps = (("unpacked", image, unpacked), ("flattened", unpacked, flattened), ("converted to sRGB", upright, result))
    return result, [name for name, before, after in steps if after is not before]


def is_graphic(image: Image.Image) -> bool:
    """Return whether the image is a graphic, not a photograph: it has mostly runs of one colour."""
    grey = image.convert("L")
    width, height = grey.size
    if width < 2:
        return True
    equal = ImageChops.difference(grey.crop((1, 0, width, height)), grey.crop((0, 0, width - 1, height)))
    return equal.histogram()[0] > _FLAT * (width - 1) * height
