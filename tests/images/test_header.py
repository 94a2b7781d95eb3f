"""A picture's shape and kind, read from its bytes and held to the limits."""

import struct
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from time import thread_time
from typing import Any

import pytest
from PIL import Image

from bridge.errors import ImageError, ImageTooLarge, InvalidImage, UnsupportedImage
from bridge.images.header import read
from bridge.images.limits import ImageLimits
from tests.hostile.pictures_odd import bmp_packed, jpeg_scans, tiff_overlap, tiff_tile, tiff_tiles, tiff_twice
from tests.images.pictures import exif, jpeg_segment, opened, photo, png_bomb, png_chunk, quarters, saved

LIMITS = ImageLimits()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "MPO"])
def test_every_format_taken_is_read(form: str) -> None:
    header = read(saved(quarters(33, 21), form), LIMITS)
    assert header.media_type == f"image/{form.lower()}".replace("mpo", "jpeg")
    assert (header.width, header.height, header.frames, header.has_alpha) == (33, 21, 1, False)


def modes() -> Iterator[Any]:
    """Every format in every mode that it can hold."""
    for form in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"):
        for mode in ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16"):
            picture = Image.new("I;16", (8, 8)) if mode == "I;16" else quarters(8, 8).convert(mode)
            with suppress(OSError, ValueError):
                yield pytest.param(form, mode, saved(picture, form), id=f"{form}-{mode}")


@pytest.mark.parametrize(("form", "mode", "data"), list(modes()))
def test_alpha_and_odd_flavours_are_noticed(form: str, mode: str, data: bytes) -> None:
    header = read(data, LIMITS)
    assert header.has_alpha or form == "BMP" or not opened(data).has_transparency_data
    assert header.plain == (form not in ("JPEG", "PNG") or mode not in ("CMYK", "I;16"))


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webp_in_each_coding(mode: str, lossless: bool) -> None:
    header = read(saved(quarters(50, 30).convert(mode), "WEBP", lossless=lossless, exif=exif(6)), LIMITS)
    assert (header.width, header.height, header.orientation, header.upright) == (50, 30, 6, (30, 50))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_frames_are_counted(form: str) -> None:
    frames = [Image.new("RGB", (16, 16), (n * 40, 0, 0)) for n in range(5)]
    data = saved(frames[0], form, save_all=True, append_images=frames[1:])
    assert read(data, LIMITS).frames == 5
    with pytest.raises(ImageTooLarge, match="frames"):
        read(data, ImageLimits(max_frames=4))
    if form != "TIFF":
        with pytest.raises(ImageTooLarge, match="megapixels"):
            read(data, ImageLimits(max_pixels=16 * 16 * 4, frame=4))


def test_two_bytes_a_sample_count_twice() -> None:
    def png(bits: int) -> bytes:
        data = bytearray(saved(Image.new("RGBA", (8, 8)), "PNG"))
        data[24] = bits
        return bytes(data)

    limits = ImageLimits(max_pixels=64)
    assert read(png(8), limits).bits == 8
    with pytest.raises(ImageTooLarge, match="16 bits a sample"):
        read(png(16), limits)


def test_a_mode_with_a_long_name_has_three_samples() -> None:
    data = saved(photo().convert("YCbCr"), "TIFF", compression="jpeg")
    assert read(data, ImageLimits(max_pixels=photo().width * photo().height)).mode == "YCbCr"


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_in_either_byte_order(order: str) -> None:
    block = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IHHHIHHI", 8, 1, 0x0112, 3, 1, 8, 0, 0)
    data = saved(photo(), "JPEG")
    segment = jpeg_segment(0xE1, b"Exif\0\0" + block)
    assert read(data[:20] + segment + data[20:], LIMITS).orientation == 8


@pytest.mark.parametrize(
    "block", [b"", b"II", b"II*\0\xff\xff\xff\xff", b"XX*\0\x08\0\0\0", b"II*\0\x08\0\0\0\xff\xff", exif(6)[:16]]
)
def test_broken_exif_is_no_orientation(block: bytes) -> None:
    data = saved(photo(), "JPEG")
    assert read(data[:20] + jpeg_segment(0xE1, b"Exif\0\0" + block) + data[20:], LIMITS).orientation == 1


@pytest.mark.parametrize(
    ("data", "limits", "words"),
    [
        (png_bomb(10_000, 10_000), LIMITS, "10000×10000"),
        (png_bomb(60_000, 10), LIMITS, "side"),
        (png_bomb(2**31 - 1, 2**31 - 1), LIMITS, "side"),
        (png_bomb(7_000, 7_000), LIMITS, "unfolds"),
        (saved(photo(), "JPEG"), ImageLimits(max_bytes=100), "larger than"),
        (saved(photo(), "JPEG"), ImageLimits(max_pixels=100), "megapixels"),
        (saved(Image.new("L", (60_000, 10_000)), "GIF")[:400], ImageLimits(max_pixels=10**9), None),
    ],
)
def test_bombs_are_refused_on_their_header(data: bytes, limits: ImageLimits, words: str | None) -> None:
    began = thread_time()
    with pytest.raises(ImageError) as caught:
        read(data, limits)
    assert thread_time() - began < 0.1
    if words:
        assert isinstance(caught.value, ImageTooLarge)
        assert words in caught.value.message


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + jpeg_segment(0xFE, b"") * 500_000,
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", bytes(13)) + png_chunk(b"tEXt", b"") * 300_000,
        b"GIF89a\1\0\1\0\0\0\0" + b"!\xfe\1a\0" * 500_000,
        b"GIF89a\1\0\1\0\0\0\0" + b"!\xfe" + b"\1a" * 2_000_000,
        b"RIFF\xff\xff\xff\0WEBP" + b"abcd\0\0\0\0" * 2_100_000,
    ],
    ids=["jpeg", "png", "gif", "gif sub-blocks", "webp"],
)
def test_a_file_of_countless_parts_is_not_walked_to_its_end(data: bytes) -> None:
    with pytest.raises(InvalidImage, match="too many parts"):
        read(data, LIMITS)


def test_a_tiff_whose_directories_go_round_ends() -> None:
    data = b"II*\0\x08\0\0\0" + struct.pack("<HHHIIHHIII", 2, 256, 4, 1, 5, 257, 4, 1, 5, 8)
    assert read(data, LIMITS).frames == 1


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<?xml version='1.0'?>\n<!-- a -->\n<svg/>", "SVG"),
        (b"\xef\xbb\xbf  <!DOCTYPE html><html>", "a web page"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC, which is optional and not enabled"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "a video"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        (b"\0\0\x01\0\1\0", "an icon"),
        (b"PK\x03\x04", "an archive"),
        (b"hello, world", "text"),
        (bytes(range(1, 60)), "an unknown format"),
    ],
)
def test_what_is_not_taken_is_named(data: bytes, words: str) -> None:
    with pytest.raises(UnsupportedImage) as caught:
        read(data, LIMITS)
    assert words in caught.value.message
    assert "JPEG, PNG" in caught.value.message


def test_nothing_is_invalid() -> None:
    with pytest.raises(InvalidImage, match="empty"):
        read(b"", LIMITS)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_a_header_cut_anywhere_is_an_error_of_ours(form: str) -> None:
    data = saved(quarters(16, 16), form)
    for end in range(len(data) if len(data) < 500 else 500):
        try:
            read(data[:end], LIMITS)
        except ImageError:
            continue


def test_a_progressive_picture_of_a_thousand_scans_is_refused_unseen() -> None:
    """Each scan costs a pass over the whole picture: 75 bytes, 36 ms."""
    Image.new("L", (64, 64), 128).save(sink := BytesIO(), "JPEG", progressive=True)
    picture = sink.getvalue()
    last = picture.rindex(b"\xff\xda")
    with pytest.raises(ImageTooLarge):
        read(picture[:last] + picture[last:-2] * 1_000 + picture[-2:], ImageLimits())


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (tiff_overlap(9_000, 65_535), InvalidImage),
        (tiff_tiles(1_500), InvalidImage),
        (b"<!---->" * 300, UnsupportedImage),
        (bmp_packed(3_000, 3_000, "0000", 1_100_000), ImageTooLarge),
    ],
    ids=["directories inside one another", "a tile for each pixel", "comments", "run lengths"],
)
def test_what_would_take_minutes_is_refused_unread(data: bytes, error: type[ImageError]) -> None:
    began = thread_time()
    with pytest.raises(error):
        read(data, LIMITS)
    assert thread_time() - began < 1


@pytest.mark.parametrize(
    ("tile", "kind", "limits", "words"),
    [
        (2_048, 4, LIMITS, "tiles"),
        (2_048, 9, LIMITS, "tiles"),
        (1_024, 4, ImageLimits(max_pixels=1_000_000), "tiles"),
    ],
    ids=["larger than the picture", "as a signed number", "more than any picture may have"],
)
def test_a_tile_is_held_to_the_limits(tile: int, kind: int, limits: ImageLimits, words: str) -> None:
    """It is unfolded whole, however little of it is in the picture."""
    with pytest.raises(ImageTooLarge, match=words):
        read(tiff_tile(tile, kind), limits)


def test_a_tile_counts_as_what_the_picture_unfolds_to() -> None:
    data = tiff_tile(3_000, side=1_900)
    assert read(data, ImageLimits(max_ratio=10_000)).tile == 9_000_000
    with pytest.raises(ImageTooLarge, match="unfolds"):
        read(data, LIMITS)


@pytest.mark.parametrize("tag", [256, 257])
def test_a_tiff_that_tells_two_sizes_is_refused(tag: int) -> None:
    """Pillow 13 believes the first, others the last: one of them would be the limits' and one the decoder's."""
    with pytest.raises(InvalidImage, match="contradicts"):
        read(tiff_twice(tag, 12_000), LIMITS)


def test_scans_count_with_the_pixels_that_each_goes_over() -> None:
    few = jpeg_scans(64, 48, 30)
    assert read(few, LIMITS).passes == 30
    with pytest.raises(ImageTooLarge, match="30 scans"):
        read(few, ImageLimits(max_pixels=64 * 48))
