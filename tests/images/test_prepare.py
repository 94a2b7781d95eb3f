"""Preparation of images: the pixels and the metadata of the image that is sent."""

import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.util import find_spec
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from bridge.errors import ImageTooLarge, InvalidImage, UnsupportedImage
from bridge.images import sources
from bridge.images.decoder import DecoderPool
from bridge.images.limits import ImageLimits
from bridge.images.prepare import Prepared, prepare
from providers.profiles import ImageProfile
from tests.images.samples import (
    BLACK,
    BLUE,
    GPS,
    GREEN,
    MEMORY,
    RED,
    SECONDS,
    WHITE,
    corners,
    decoded,
    exif,
    jpeg_with_metadata,
    photo,
    png_chunk,
    quarters,
    rotated,
    saved,
    similar,
    srgb,
    swapped_profile,
)

LIMITS = ImageLimits()
ANY = ImageProfile(media_types=frozenset({"image/jpeg", "image/png", "image/webp", "image/gif"}))
UPRIGHT = [RED, GREEN, WHITE, BLUE]
Send = Callable[..., Awaitable[Prepared]]


@pytest.fixture(scope="module")
async def decoder(anyio_backend: str) -> AsyncIterator[DecoderPool]:
    pool = DecoderPool(1, MEMORY, SECONDS)
    yield pool
    await pool.aclose()


@pytest.fixture
def send(decoder: DecoderPool) -> Send:
    """Return a function that prepares an image and checks the properties of every result."""

    async def prepared(
        data: bytes,
        profile: ImageProfile = ANY,
        resize: str | None = None,
        limits: ImageLimits = LIMITS,
        **options: Any,
    ) -> Prepared:
        source = sources.from_upload(data, limits)
        result = await prepare(source, profile, resize=resize, limits=limits, decoder=decoder, **options)
        image = decoded(result.image.data)
        assert (image.width, image.height) == (result.image.width, result.image.height)
        assert image.get_format_mimetype() == result.image.media_type
        assert image.mode in ("L", "RGB", "P", "1")
        assert GPS not in result.image.data
        return result

    return prepared


def pixels(prepared: Prepared) -> list[tuple[int, ...]]:
    return corners(decoded(prepared.image.data))


@pytest.mark.parametrize(
    "data",
    [
        saved(photo(), "JPEG", quality=90),
        saved(photo(), "JPEG", quality=90, progressive=True, icc_profile=srgb()),
        saved(photo().convert("L"), "JPEG"),
        saved(photo(), "PNG"),
        saved(quarters().quantize(4), "PNG"),
        saved(photo(), "WEBP"),
    ],
    ids=["jpeg", "progressive", "grey", "png", "palette", "webp"],
)
async def test_an_acceptable_image_is_sent_unchanged(data: bytes, decoder: DecoderPool) -> None:
    for statistics in (False, True):
        source = sources.from_upload(data, LIMITS)
        prepared = await prepare(source, ANY, resize=None, limits=LIMITS, decoder=decoder, statistics=statistics)
        assert prepared.image.data is source.data
        assert prepared.actions == ()
        assert (prepared.image.statistics is not None) == statistics


async def test_a_simple_jpeg_needs_no_worker() -> None:
    source = sources.from_upload(saved(photo(), "JPEG"), LIMITS)
    no_workers = DecoderPool(0, 0, 0)  # a job would never start
    assert (await prepare(source, ANY, resize=None, limits=LIMITS, decoder=no_workers)).image.data is source.data


JPEG = saved(photo(), "JPEG", quality=90, icc_profile=srgb())
PNG = saved(photo(), "PNG", icc_profile=srgb(), dpi=(72, 72))
EXTRA = (
    png_chunk(b"tEXt", b"Comment\0" + GPS)
    + png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + GPS)
    + png_chunk(b"eXIf", exif(1))
    + png_chunk(b"prVt", GPS)
)


@pytest.mark.parametrize(
    ("plain", "data"), [(JPEG, jpeg_with_metadata(JPEG)), (PNG, PNG[:33] + EXTRA + PNG[33:] + b"trailing " + GPS)]
)
async def test_metadata_is_removed_and_pixels_are_unchanged(send: Send, plain: bytes, data: bytes) -> None:
    assert data.count(GPS) >= 5
    prepared = await send(data)
    assert (prepared.image.data, prepared.actions) == (plain, ("metadata dropped",))


async def test_webp_metadata_is_removed_and_pixels_are_unchanged(send: Send) -> None:
    data = saved(photo(), "WEBP", exif=exif(1), xmp=GPS, icc_profile=srgb())
    prepared = await send(data + GPS)
    result = decoded(prepared.image.data)
    assert result.tobytes() == decoded(data).tobytes()
    assert result.info["icc_profile"] == srgb()
    assert "exif" not in result.info
    assert prepared.actions == ("metadata dropped",)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
async def test_exif_orientation_is_applied(send: Send, orientation: int, form: str) -> None:
    prepared = await send(rotated(orientation, form))
    assert (prepared.image.width, prepared.image.height) == (64, 48)
    assert similar(pixels(prepared), UPRIGHT, within=24)
    assert ("rotated" in prepared.actions) == (orientation > 1 and form != "TIFF")
    assert decoded(prepared.image.data).getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize(
    ("form", "mode"), [("PNG", "RGBA"), ("PNG", "LA"), ("WEBP", "RGBA"), ("TIFF", "RGBA"), ("AVIF", "RGBA")]
)
async def test_transparency_is_flattened_on_white(send: Send, form: str, mode: str) -> None:
    image = Image.new("RGBA", (64, 48), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (32, 0, 64, 48))
    prepared = await send(saved(image.convert(mode), form))
    assert similar(pixels(prepared), [WHITE, BLACK, BLACK, WHITE], within=24)
    assert "flattened" in prepared.actions


async def test_a_transparent_grey_of_16_bits_becomes_white_and_the_others_are_kept(send: Send) -> None:
    row = struct.pack("<64H", *[30_000] * 32, *[40_000] * 32)
    plain = saved(Image.frombytes("I;16", (64, 48), row * 48), "PNG")
    keyed = plain[:33] + png_chunk(b"tRNS", struct.pack(">H", 40_000)) + plain[33:]
    grey = (117, 117, 117)
    assert similar(pixels(await send(plain)), [grey, (156, 156, 156), (156, 156, 156), grey])
    assert similar(pixels(await send(keyed)), [grey, WHITE, WHITE, grey])


async def test_a_colour_profile_is_kept_or_applied(send: Send) -> None:
    data = saved(quarters(), "JPEG", quality=95, icc_profile=swapped_profile())
    assert decoded((await send(data)).image.data).info["icc_profile"] == swapped_profile()
    converted = await send(data, ImageProfile(size=60))
    assert "icc_profile" not in decoded(converted.image.data).info
    assert similar(pixels(converted), [BLUE, GREEN, WHITE, RED], within=24)
    assert "converted to sRGB" in converted.actions


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
async def test_the_configured_frame_of_an_animation_is_sent(send: Send, form: str) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in (RED, GREEN, BLUE)]
    data = saved(frames[0], form, save_all=True, append_images=frames[1:], duration=50)
    for frame, colour, number in ((0, RED, 1), (1, GREEN, 2), (99, BLUE, 3)):
        prepared = await send(data, limits=ImageLimits(frame=frame))
        assert similar(pixels(prepared), [colour] * 4, within=24)
        assert prepared.actions[0] == f"frame {number}"


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
async def test_the_byte_limit_is_kept(send: Send, form: str) -> None:
    data = saved(photo(800, 600), form)
    assert len((await send(data, ImageProfile(max_bytes=20_000))).image.data) <= 20_000
    with pytest.raises(ImageTooLarge):
        await send(data, ImageProfile(max_bytes=100))


@pytest.mark.skipif(find_spec("pillow_heif") is None, reason="needs pillow-heif")
@pytest.mark.parametrize("orientation", [1, 6])
async def test_heic_is_optional_and_its_orientation_applied_once(send: Send, orientation: int) -> None:
    import pillow_heif

    image = quarters(128, 96)
    image.info["exif"] = exif(orientation)
    sink = BytesIO()
    pillow_heif.from_pillow(image).save(sink, quality=90)
    with pytest.raises(UnsupportedImage, match="GRAPHCAP_HEIF"):
        await send(sink.getvalue())
    upright = pillow_heif.open_heif(sink.getvalue()).to_pillow()
    prepared = await send(sink.getvalue(), limits=ImageLimits(heif=True), statistics=True)
    assert (prepared.image.width, prepared.image.height) == upright.size
    assert similar(pixels(prepared), corners(upright), within=25)
    for share in (0.2, 0.9):
        with pytest.raises(InvalidImage):
            await send(sink.getvalue()[: int(len(sink.getvalue()) * share)], limits=ImageLimits(heif=True))


@pytest.mark.parametrize(
    ("size", "resize", "profile", "expected"),
    [
        ((4000, 3000), None, ImageProfile(size=2048), (2048, 1536)),
        ((4000, 3000), "NONE", ImageProfile(size=2048), (4000, 3000)),
        ((4000, 3000), "NONE", ImageProfile(size=2048, max_side=1000), (1000, 750)),
        ((4000, 3000), "HD_720P", ImageProfile(size=2048), (960, 720)),
        ((3000, 4000), "HD_720P", ImageProfile(size=2048), (720, 960)),
        ((3000, 4000), "UHD_8K", ImageProfile(size=1024), (768, 1024)),
        ((4000, 40), "SD_VGA", ImageProfile(size=None), (640, 6)),
        ((300, 200), "UHD_4K", ImageProfile(size=None), (300, 200)),
    ],
)
async def test_resize(
    send: Send, size: tuple[int, int], resize: str | None, profile: ImageProfile, expected: tuple[int, int]
) -> None:
    prepared = await send(saved(Image.new("L", size, 90), "PNG"), profile, resize)
    assert (prepared.image.width, prepared.image.height) == expected


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((4032, 3024), 2048, (2016, 1512)),  # half is 98 % of the size requested
        ((4000, 3000), 1024, (1000, 750)),  # a quarter is
        ((1201, 801), 160, (151, 101)),  # an eighth, rounded up
        ((4032, 3024), 2500, (2500, 1875)),  # no scale is near
        ((4032, 3024), 2010, (2010, 1508)),  # half would be too large
        ((3024, 4032), 2048, (1512, 2016)),
    ],
)
async def test_a_jpeg_scale_near_the_requested_size_is_used(
    send: Send, size: tuple[int, int], side: int, expected: tuple[int, int]
) -> None:
    data = saved(quarters(*size), "JPEG", quality=90)
    prepared = await send(data, ImageProfile(size=side))
    assert (prepared.image.width, prepared.image.height) == expected
    assert similar(pixels(prepared), UPRIGHT, within=16)
    turned = await send(saved(quarters(*size), "JPEG", exif=exif(6)), ImageProfile(size=side))
    assert (turned.image.width, turned.image.height) == expected[::-1]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP"])
async def test_an_extreme_aspect_ratio_is_rejected_with_the_ratio(send: Send, form: str) -> None:
    assert (await send(saved(Image.new("RGB", (1000, 10)), form))).image.width == 1000
    for size in ((3030, 30), (10, 4000)):
        with pytest.raises(InvalidImage, match=f"{max(size) // min(size)}:1"):
            await send(saved(Image.new("RGB", size), form))


async def test_statistics_describe_the_original(send: Send) -> None:
    prepared = await send(saved(quarters(400, 300), "PNG"), ImageProfile(size=100), statistics=True)
    statistics = prepared.image.statistics
    assert statistics is not None
    assert (statistics.width, statistics.height) == (400, 300)
    assert {name for name, _ in statistics.colours} <= {"red", "green", "blue", "white"}
    assert all(share == pytest.approx(0.25, abs=0.03) for _, share in statistics.colours)
    white = await send(saved(Image.new("L", (30, 40), 255), "JPEG"), statistics=True)
    assert white.image.statistics is not None
    assert (white.image.statistics.colours, white.image.statistics.brightness) == ((("white", 1.0),), 1.0)
