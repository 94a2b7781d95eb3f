"""Generated images with known pixels."""

import struct
import zlib
from functools import cache
from io import BytesIO
from typing import Any

from PIL import Image, ImageCms, ImageDraw

SECONDS = 60.0
MEMORY = 1024 * 1024 * 1024
GPS = b"GPS-SECRET-52.5200N"
RED, GREEN, BLUE, WHITE, BLACK = (220, 20, 20), (20, 180, 20), (20, 20, 220), (255, 255, 255), (0, 0, 0)


def quarters(width: int = 64, height: int = 48) -> Image.Image:
    """Return an image with a colour per quarter: red, green / blue, white. All its rotations differ."""
    image = Image.new("RGB", (width, height), RED)
    draw = ImageDraw.Draw(image)
    draw.rectangle((width // 2, 0, width, height // 2 - 1), GREEN)
    draw.rectangle((0, height // 2, width // 2 - 1, height), BLUE)
    draw.rectangle((width // 2, height // 2, width, height), WHITE)
    return image


def solid(size: tuple[int, int], colour: tuple[int, int, int]) -> Image.Image:
    """Return an image of one colour."""
    return Image.new("RGB", size, colour)


def photo(width: int = 320, height: int = 240) -> Image.Image:
    """Return noise over a gradient, so that adjacent pixels differ."""
    noise = Image.effect_noise((width, height), 60)
    return Image.merge("RGB", (noise, Image.linear_gradient("L").resize((width, height)), noise.rotate(180)))


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    """Return the colours near the four corners, clockwise from the top left."""
    right, bottom = image.width - 1, image.height - 1
    x, y = image.width // 8, image.height // 8
    spots = ((x, y), (right - x, y), (right - x, bottom - y), (x, bottom - y))
    rgb = image.convert("RGB")
    return [tuple(rgb.getpixel(spot)) for spot in spots]  # type: ignore[arg-type]


def similar(actual: list[tuple[int, ...]], expected: list[tuple[int, ...]], within: int = 12) -> bool:
    return all(
        abs(a - b) <= within
        for pixel, reference in zip(actual, expected, strict=True)
        for a, b in zip(pixel, reference, strict=True)
    )


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010E] = GPS.decode()
    return tags.tobytes()


def rotated(orientation: int, form: str = "JPEG") -> bytes:
    """Return `quarters` as a file that shows it upright when `orientation` is applied."""
    transposition = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    image = quarters() if transposition is None else quarters().transpose(transposition)
    options: dict[str, Any] = {"quality": 95} if form != "PNG" else {}
    return saved(image, form, exif=exif(orientation), **options)


def jpeg_segment(marker: int, payload: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(payload) + 2) + payload


def png_chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def jpeg_with_metadata(plain: bytes) -> bytes:
    """Return the JPEG with all metadata that must be removed: EXIF, XMP, IPTC, comment, thumbnails, appended video."""
    thumbnail = saved(quarters(16, 16), "JPEG")
    extra = (
        jpeg_segment(0xE0, b"JFIF\0")
        + jpeg_segment(0xE0, b"JFXX\0\x10" + thumbnail)
        + jpeg_segment(0xE1, b"Exif\0\0" + exif(1))
        + jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + GPS)
        + jpeg_segment(0xE2, b"MPF\0" + GPS)
        + jpeg_segment(0xED, b"Photoshop 3.0\0" + GPS)
        + jpeg_segment(0xFE, GPS)
    )
    video = struct.pack(">I", 24) + b"ftypmp42" + GPS + b"\0" * 300
    return plain[:20] + extra + plain[20:] + video


@cache
def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile() -> bytes:
    """Return an RGB profile with swapped red and blue, so that a conversion changes the pixels."""
    profile = bytearray(srgb())
    count = struct.unpack_from(">I", profile, 128)[0]
    rows = {bytes(profile[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, blue = rows[b"rXYZ"], rows[b"bXYZ"]
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "RGBs".encode("utf-16-be")).replace(b"sRGB b", b"RGBs b")
