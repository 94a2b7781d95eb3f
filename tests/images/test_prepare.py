"""What becomes of a picture on its way to a target: compared by pixels and by what is left in the bytes."""

import asyncio
import tempfile
import threading
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable
from struct import pack_into
from typing import Any

import pytest
from PIL import Image, ImageFile

from bridge.errors import ImageTooLarge, InvalidImage, UnknownResize, UnsupportedImage
from bridge.images import sources, worker
from bridge.images.containers.jpeg import segments
from bridge.images.limits import ImageLimits
from bridge.images.metadata import strip
from bridge.images.prepare import Prepared, prepare
from bridge.images.resize import PRESETS
from providers.base import ImageProfile
from tests.images.pictures import (
    BLACK,
    BLUE,
    GPS,
    GREEN,
    RED,
    WHITE,
    alike,
    chatty_jpeg,
    corners,
    exif,
    opened,
    photo,
    png_chunk,
    quarters,
    saved,
    srgb,
    swapped_profile,
    turned,
)

LIMITS = ImageLimits()
ANY = ImageProfile(media_types=frozenset({"image/jpeg", "image/png", "image/webp", "image/gif"}))
UPRIGHT = [RED, GREEN, WHITE, BLUE]


def url_safe(text: str) -> str:
    return text.replace("+", "-").replace("/", "_")


async def sent(
    data: bytes,
    profile: ImageProfile = ANY,
    resize: str | None = None,
    limits: ImageLimits = LIMITS,
    measure: bool = False,
) -> Prepared:
    source = sources.from_upload(data, limits)
    prepared = await prepare(source, profile, resize=resize, limits=limits, measure=measure)
    result = opened(prepared.image.data)
    assert (result.width, result.height) == (prepared.image.width, prepared.image.height)
    assert result.get_format_mimetype() == prepared.image.media_type
    assert GPS not in prepared.image.data
    return prepared


def pixels(prepared: Prepared) -> list[tuple[int, ...]]:
    return corners(opened(prepared.image.data))


# What passes


@pytest.mark.parametrize(
    "data",
    [
        saved(photo(), "JPEG", quality=90),
        saved(photo(), "JPEG", quality=90, progressive=True, icc_profile=srgb()),
        saved(photo().convert("L"), "JPEG"),
        saved(photo(), "PNG"),
        saved(quarters().quantize(4), "PNG"),
        saved(photo(), "WEBP"),
        saved(quarters().quantize(4), "GIF"),
    ],
    ids=["jpeg", "progressive", "grey", "png", "palette", "webp", "gif"],
)
async def test_a_picture_that_fits_passes_untouched(data: bytes) -> None:
    source = sources.from_upload(data, LIMITS)
    prepared = await prepare(source, ANY, resize=None, limits=LIMITS)
    assert prepared.image.data is source.data
    assert prepared.actions == ()


async def test_jpeg_loses_its_metadata_and_not_a_pixel() -> None:
    plain = saved(photo(), "JPEG", quality=90, icc_profile=srgb())
    data = chatty_jpeg(plain)
    assert data.count(GPS) >= 5
    prepared = await sent(data)
    assert prepared.actions == ("metadata dropped",)
    result = opened(prepared.image.data)
    assert prepared.image.data == plain
    assert result.info["icc_profile"] == srgb()
    assert not result.getexif()
    assert b"JFXX" not in prepared.image.data
    assert b"ftyp" not in prepared.image.data
    assert prepared.image.data.endswith(b"\xff\xd9")


async def test_a_jfif_thumbnail_is_cut_out() -> None:
    plain = saved(photo(), "JPEG")
    assert plain[2:4] == b"\xff\xe0"
    thumbnail = bytes(range(12))
    head = b"\xff\xe0" + (16 + len(thumbnail)).to_bytes(2, "big") + plain[6:18] + b"\x02\x02" + thumbnail
    prepared = await sent(plain[:2] + head + plain[20:])
    assert prepared.image.data == plain


async def test_a_jpeg_without_its_end_marker_is_truncated() -> None:
    with pytest.raises(InvalidImage, match="truncated"):
        await sent(saved(photo(), "JPEG")[:-2])


async def test_mpo_is_its_first_picture() -> None:
    first, second = quarters(), Image.new("RGB", (64, 48), BLACK)
    data = saved(first, "MPO", save_all=True, append_images=[second], quality=95)
    assert opened(data).n_frames == 2  # type: ignore[attr-defined]
    prepared = await sent(data)
    assert prepared.image.media_type == "image/jpeg"
    assert alike(pixels(prepared), UPRIGHT)
    assert prepared.image.data.count(b"\xff\xd8\xff") == 1
    assert b"MPF" not in prepared.image.data


async def test_png_loses_its_metadata_and_not_a_pixel() -> None:
    plain = saved(photo(), "PNG", icc_profile=srgb(), dpi=(72, 72))
    extra = (
        png_chunk(b"tEXt", b"Comment\0" + GPS)
        + png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + GPS)
        + png_chunk(b"eXIf", exif(1))
        + png_chunk(b"tIME", b"\x07\xea\x0b\x15\0\0\0")
        + png_chunk(b"prVt", GPS)
    )
    prepared = await sent(plain[:33] + extra + plain[33:] + b"trailing " + GPS)
    assert prepared.image.data == plain
    assert prepared.actions == ("metadata dropped",)


async def test_webp_loses_its_metadata_and_not_a_pixel() -> None:
    data = saved(photo(), "WEBP", exif=exif(1), xmp=GPS, icc_profile=srgb())
    prepared = await sent(data + GPS)
    result = opened(prepared.image.data)
    assert result.tobytes() == opened(data).tobytes()
    assert result.info["icc_profile"] == srgb()
    assert "exif" not in result.info
    assert prepared.image.data[20] & 0x0C == 0
    assert prepared.actions == ("metadata dropped",)


async def test_gif_loses_its_comment() -> None:
    prepared = await sent(saved(quarters().quantize(4), "GIF", comment=GPS) + GPS)
    assert alike(pixels(prepared), UPRIGHT)
    assert prepared.actions == ("metadata dropped",)


# What is turned, flattened, converted


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
async def test_exif_orientation_is_applied(orientation: int, form: str) -> None:
    prepared = await sent(turned(orientation, form))
    assert (prepared.image.width, prepared.image.height) == (64, 48)
    assert alike(pixels(prepared), UPRIGHT, within=24)
    assert ("rotated" in prepared.actions) == (orientation > 1)
    assert opened(prepared.image.data).getexif().get(0x0112, 1) == 1


async def test_a_turned_photo_is_shrunk_upright() -> None:
    prepared = await sent(saved(photo(400, 800), "JPEG", exif=exif(6)), ImageProfile(size=200))
    assert (prepared.image.width, prepared.image.height) == (200, 100)
    assert "resized 800x400 → 200x100" in prepared.actions


@pytest.mark.parametrize(
    ("form", "mode"), [("PNG", "RGBA"), ("PNG", "LA"), ("WEBP", "RGBA"), ("TIFF", "RGBA"), ("AVIF", "RGBA")]
)
async def test_alpha_is_flattened_on_white(form: str, mode: str) -> None:
    picture = Image.new("RGBA", (64, 48), (0, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (32, 0, 64, 48))
    prepared = await sent(saved(picture.convert(mode), form))
    assert alike(pixels(prepared), [WHITE, BLACK, BLACK, WHITE], within=24)
    assert opened(prepared.image.data).mode in ("L", "RGB")
    assert "flattened" in prepared.actions


async def test_half_transparent_is_half_white() -> None:
    prepared = await sent(saved(Image.new("RGBA", (32, 32), (200, 0, 0, 128)), "PNG"))
    assert alike(pixels(prepared), [(227, 127, 127)] * 4)


async def test_a_transparent_palette_colour_is_white() -> None:
    picture = quarters().quantize(4)
    clear = picture.getpixel((8, 8))
    prepared = await sent(saved(picture, "PNG", transparency=clear))
    assert alike(pixels(prepared), [WHITE, GREEN, WHITE, BLUE])


@pytest.mark.parametrize("icc", [None, b"not a profile"])
async def test_cmyk_becomes_rgb(icc: bytes | None) -> None:
    options = {} if icc is None else {"icc_profile": icc}
    data = saved(quarters().convert("CMYK"), "JPEG", quality=95, **options)
    assert b"Adobe" in data
    prepared = await sent(data)
    assert opened(prepared.image.data).mode == "RGB"
    assert alike(pixels(prepared), UPRIGHT, within=24)


async def test_sixteen_bits_are_scaled_not_cut() -> None:
    for form in ("PNG", "TIFF"):
        deep = Image.new("I;16", (64, 48), 32768)
        deep.paste(65535, (32, 0, 64, 48))
        prepared = await sent(saved(deep, form))
        assert alike(pixels(prepared), [(127,) * 3, WHITE, WHITE, (127,) * 3])


async def test_wide_greys_are_scaled_by_what_they_hold() -> None:
    for value, white in ((0.5, 1.0), (100.0, 200.0)):
        wide = Image.new("F", (64, 48), value)
        wide.paste(white, (32, 0, 64, 48))
        left = corners(opened((await sent(saved(wide, "TIFF"))).image.data))[0][0]
        assert left == pytest.approx(value * 255 / (1 if white == 1 else 255), abs=3)


@pytest.mark.parametrize("mode", ["1", "P", "L", "LAB", "YCbCr"])
async def test_other_modes_are_unpacked(mode: str) -> None:
    picture = Image.new("L", (64, 48), 0)
    picture.paste(255, (32, 0, 64, 48))
    if mode == "LAB":
        picture = Image.merge("LAB", (picture, *[Image.new("L", (64, 48), 128)] * 2))
    else:
        picture = picture.convert("RGB").convert(mode)
    prepared = await sent(saved(picture, "TIFF"))
    assert alike(pixels(prepared), [BLACK, WHITE, WHITE, BLACK])


async def test_a_foreign_profile_is_converted_when_the_picture_is_encoded_again() -> None:
    data = saved(quarters(), "JPEG", quality=95, icc_profile=swapped_profile())
    kept = await sent(data)
    assert opened(kept.image.data).info["icc_profile"] == swapped_profile()
    converted = await sent(data, ImageProfile(frozenset({"image/png"})))
    assert "icc_profile" not in opened(converted.image.data).info
    assert alike(pixels(converted), [BLUE, GREEN, WHITE, RED], within=24)
    assert "converted to sRGB" in converted.actions


async def test_an_arithmetic_coded_jpeg_is_encoded_again() -> None:
    data = saved(photo(), "JPEG")
    at = data.index(b"\xff\xc0")
    prepared = await sent(data[: at + 1] + b"\xc9" + data[at + 2 :])  # what it decodes to is not the point
    assert "recompressed" in prepared.actions
    assert b"\xff\xc0" in prepared.image.data


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
async def test_an_animation_gives_the_wanted_frame(form: str) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in (RED, GREEN, BLUE)]
    data = saved(frames[0], form, save_all=True, append_images=frames[1:], duration=50)
    first = await sent(data)
    assert alike(pixels(first), [RED] * 4, within=24)
    assert first.actions[0] == "frame 1 of 3"
    second = await sent(data, limits=ImageLimits(frame=1))
    assert alike(pixels(second), [GREEN] * 4, within=24)
    last = await sent(data, limits=ImageLimits(frame=99))
    assert alike(pixels(last), [BLUE] * 4, within=24)


# What it is sent as


@pytest.mark.parametrize("form", ["WEBP", "AVIF", "TIFF", "BMP", "GIF"])
async def test_a_photo_in_a_format_the_target_does_not_take_becomes_jpeg(form: str) -> None:
    source = photo() if form != "GIF" else photo().quantize(256)
    prepared = await sent(saved(source, form), ImageProfile())
    assert prepared.image.media_type == "image/jpeg"
    assert f"converted image/{form.lower()} → image/jpeg" in prepared.actions


async def test_a_drawing_becomes_png_unless_it_was_jpeg() -> None:
    assert (await sent(saved(quarters(), "BMP"))).image.media_type == "image/png"
    large = quarters(400, 300)
    assert (await sent(saved(large, "JPEG"), ImageProfile(size=100))).image.media_type == "image/jpeg"


async def test_a_target_that_takes_only_webp_gets_webp() -> None:
    prepared = await sent(saved(photo(), "JPEG"), ImageProfile(frozenset({"image/webp"})))
    assert prepared.image.media_type == "image/webp"


async def test_a_target_that_takes_nothing_we_write_is_refused() -> None:
    with pytest.raises(UnsupportedImage):
        await sent(saved(photo(), "PNG"), ImageProfile(frozenset({"image/heic"})))


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
async def test_the_byte_limit_is_kept(form: str) -> None:
    data = saved(photo(800, 600), form)
    prepared = await sent(data, ImageProfile(max_bytes=20_000))
    assert len(prepared.image.data) <= 20_000
    with pytest.raises(ImageTooLarge):
        await sent(data, ImageProfile(max_bytes=100))


# How large it is sent


@pytest.mark.parametrize(
    ("size", "resize", "profile", "wanted"),
    [
        ((4000, 3000), None, ImageProfile(size=2048), (2048, 1536)),
        ((4000, 3000), "NONE", ImageProfile(size=2048), (4000, 3000)),
        ((4000, 3000), "NONE", ImageProfile(size=2048, max_side=1000), (1000, 750)),
        ((4000, 3000), "HD_720P", ImageProfile(size=2048), (960, 720)),
        ((3000, 4000), "HD_720P", ImageProfile(size=2048), (720, 960)),
        ((3000, 4000), "UHD_8K", ImageProfile(size=1024), (768, 1024)),
        ((4000, 10), "SD_VGA", ImageProfile(size=None), (640, 2)),
        ((300, 200), "UHD_4K", ImageProfile(size=None), (300, 200)),
    ],
)
async def test_resize(
    size: tuple[int, int], resize: str | None, profile: ImageProfile, wanted: tuple[int, int]
) -> None:
    prepared = await sent(saved(Image.new("L", size, 90), "PNG"), profile, resize)
    assert (prepared.image.width, prepared.image.height) == wanted


async def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(UnknownResize) as caught:
        await sent(saved(photo(), "JPEG"), resize="4K")
    assert all(name in caught.value.message for name in ("NONE", *PRESETS))


async def test_a_shrunk_photo_keeps_its_colours() -> None:
    prepared = await sent(saved(quarters(1600, 1200), "JPEG", quality=95), ImageProfile(size=100))
    assert alike(pixels(prepared), UPRIGHT, within=16)


# What is broken or hostile


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
async def test_a_truncated_picture_is_refused(form: str) -> None:
    picture = photo() if form != "GIF" else photo().quantize(256)
    data = saved(picture, form)
    for share in (0.3, 0.7, 0.95):
        with pytest.raises(InvalidImage) as caught:
            await sent(data[: int(len(data) * share)])
        assert "truncated" in caught.value.message


async def test_whatever_a_decoder_raises_is_an_invalid_image() -> None:
    """Why the seam is broad: mutations of small pictures make Pillow raise far more than it documents."""
    causes: set[str] = set()
    samples = [saved(quarters(16, 16), form) for form in ("TIFF", "BMP", "PNG", "JPEG")]
    samples.append(saved(quarters(16, 16).quantize(4), "GIF"))
    for data in samples:
        for at in range(0, min(len(data), 300), 4):
            for value in (0x00, 0x7F, 0xFF):
                try:
                    await sent_or_refused(data[:at] + bytes([value]) + data[at + 1 :])
                except InvalidImage as error:
                    causes.add(type(error.__cause__).__name__)
    assert len(causes - {"NoneType", "OSError"}) >= 3, causes


async def sent_or_refused(data: bytes) -> None:
    """Every mutation is sent in a form that opens, or is refused by an error of ours."""
    try:
        source = sources.from_upload(data, LIMITS)
        prepared = await prepare(source, ANY, resize=None, limits=LIMITS)
        opened(prepared.image.data)
    except (ImageTooLarge, UnsupportedImage):
        pass


@pytest.mark.parametrize("takes", ["image/png", "image/jpeg"])
async def test_a_second_header_cannot_grow_the_picture(takes: str) -> None:
    data = saved(photo(), "PNG")
    second = bytearray(data[8:33])
    pack_into(">II", second, 8, 9_000, 9_000)
    pack_into(">I", second, 21, zlib.crc32(second[4:21]))
    with pytest.raises(ImageTooLarge, match="9000x9000"):
        await sent(data[:33] + second + data[33:], ImageProfile(frozenset({takes})))


async def test_a_decode_that_overruns_is_refused_and_keeps_its_slot() -> None:
    gate, slots = threading.Event(), worker.slots()
    with pytest.raises(ImageTooLarge):
        await worker.in_thread(gate.wait, 0.05)
    assert slots.borrowed_tokens == 1
    gate.set()
    await all_free()


async def test_a_caller_who_leaves_keeps_the_slot_taken() -> None:
    gate, slots, loop = threading.Event(), worker.slots(), asyncio.get_running_loop()
    began = asyncio.Event()

    def work() -> bool:
        loop.call_soon_threadsafe(began.set)
        return gate.wait()

    task = asyncio.create_task(worker.in_thread(work, 30))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert slots.borrowed_tokens == 1
    gate.set()
    await all_free()


async def all_free() -> None:
    """Wait until every slot can be had again."""
    for name in range(worker.THREADS):
        await worker.slots().acquire_on_behalf_of(name)
    for name in range(worker.THREADS):
        worker.slots().release_on_behalf_of(name)


async def test_the_original_is_measured_on_request() -> None:
    data = saved(quarters(400, 300), "JPEG")
    assert (await sent(data)).image.measurements is None
    prepared = await sent(data, ImageProfile(size=100), measure=True)
    assert prepared.image.measurements is not None
    assert (prepared.image.measurements.width, prepared.image.measurements.height) == (400, 300)


async def test_nothing_is_written_to_disk(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    await sent(saved(photo(1000, 1200), "TIFF", compression="tiff_lzw"))
    await sent(saved(photo(1200, 1000), "PNG"), ImageProfile(size=500))


def test_pillow_is_not_changed() -> None:
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    assert Image.MAX_IMAGE_PIXELS == 89478485


async def test_a_photo_without_one_of_its_tables_is_refused_small_or_large() -> None:
    """It is whole by its length and its markers, and no decoder can read it."""
    for size in ((64, 48), (1600, 1200)):
        data = saved(photo(*size), "JPEG", quality=90)
        start, end = next((start, end) for marker, start, end in segments(data) if marker == 0xDB)
        with pytest.raises(InvalidImage):
            await sent(data[:start] + data[end:])


@pytest.mark.parametrize("progressive", [False, True])
async def test_the_callers_base64_goes_on_as_it_is(progressive: bool) -> None:
    data = strip("image/jpeg", saved(photo(), "JPEG", progressive=progressive))
    text = b64encode(data).decode()
    source = sources.from_base64(text, LIMITS)
    assert (await prepare(source, ANY, resize=None, limits=LIMITS)).image.base64 is text


@pytest.mark.parametrize(
    "spelled", [lambda text: text.rstrip("="), lambda text: text[:76] + "\n" + text[76:], url_safe]
)
async def test_other_spellings_are_written_anew(spelled: Callable[[str], str]) -> None:
    pictures = (strip("image/jpeg", saved(photo(101, 99), "JPEG", quality=quality)) for quality in range(60, 95))
    text = next(b64encode(data).decode() for data in pictures if len(data) % 3)
    assert spelled(text) != text
    prepared = await prepare(sources.from_base64(spelled(text), LIMITS), ANY, resize=None, limits=LIMITS)
    assert prepared.image.base64 == text


async def test_base64_of_metadata_does_not_go_on() -> None:
    source = sources.from_base64(b64encode(chatty_jpeg(saved(quarters(), "JPEG"))).decode(), LIMITS)
    image = (await prepare(source, ANY, resize=None, limits=LIMITS)).image
    assert b64decode(image.base64) == image.data
    assert GPS not in image.data
