"""Pictures with known contents, and what is measured of them."""

import random
from dataclasses import asdict
from io import BytesIO
from time import thread_time
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFilter
from PIL.TiffImagePlugin import IFDRational as Ratio

from bridge.errors import ImageError, InvalidImage
from bridge.images.decoder import decoding
from bridge.images.measure import measure
from providers.measurements import PLACES, Camera, Measurements
from tests.images.pictures import photo, saved, turned

RED, BLACK, WHITE = (255, 0, 0), (0, 0, 0), (255, 255, 255)


def measured(picture: Image.Image, form: str = "PNG", **options: Any) -> Measurements:
    return measure(saved(picture, form, **options))


def board(squares: int = 8, side: int = 25) -> Image.Image:
    picture = Image.new("L", (squares * side, squares * side), 255)
    draw = ImageDraw.Draw(picture)
    for number in range(squares * squares):
        row, column = divmod(number, squares)
        if (row + column) % 2:
            draw.rectangle((column * side, row * side, column * side + side - 1, row * side + side - 1), 0)
    return picture


def halves() -> Image.Image:
    picture = Image.new("RGB", (300, 200), WHITE)
    picture.paste(BLACK, (0, 0, 150, 200))
    return picture


def test_a_single_colour() -> None:
    found = measured(Image.new("RGB", (400, 300), RED))
    assert [(one.name, one.family, one.hex, one.share) for one in found.palette] == [
        ("bright red", "red", "#ff0000", 1.0)
    ]
    assert (found.contrast, found.edges, found.sharpness, found.symmetry, found.accent) == (0.0, 0.0, None, 0.0, None)
    assert found.warmth > 0.3
    assert found.colourfulness > 0.6
    assert not found.monochrome
    assert found.tones == "flat"
    assert {cell.detail for cell in found.cells} == {0.0}
    assert (found.width, found.height, found.aspect, found.orientation) == (400, 300, "4:3", "landscape")


def test_half_black_half_white() -> None:
    found = measured(halves())
    assert {one.name: one.share for one in found.palette} == pytest.approx({"black": 0.5, "white": 0.5}, abs=0.01)
    assert {one.name: one.place for one in found.palette} == {"black": "left", "white": "right"}
    assert found.brightness == pytest.approx(0.5, abs=0.01)
    assert (found.contrast, found.monochrome, found.warmth) == (1.0, True, 0.0)
    assert (found.shadows, found.highlights) == (pytest.approx(0.5, abs=0.01), pytest.approx(0.5, abs=0.01))
    assert {cell.place: round(cell.light) for cell in found.cells if "left" in cell.place} == {
        "top left": 0,
        "left": 0,
        "bottom left": 0,
    }
    assert all(round(cell.light) == 1 for cell in found.cells if "right" in cell.place)
    assert found.by_light()[0].place in ("top right", "right", "bottom right")


def test_a_gradient_has_continuous_tones_and_no_edge() -> None:
    found = measured(Image.linear_gradient("L").resize((320, 320)))
    assert (found.tones, found.edges, found.symmetry) == ("continuous", 0.0, pytest.approx(1, abs=0.01))
    lights = [row[1].light for row in found.rows()]
    assert lights == sorted(lights)
    assert lights[2] - lights[0] > 0.5


def test_a_checkerboard_is_sharp_flat_and_busy_everywhere() -> None:
    found = measured(board())
    assert found.tones == "flat"
    assert found.edges > 0.05
    assert max(cell.detail for cell in found.cells) < 0.15
    assert measured(board(9)).symmetry > 0.95
    assert found.sharpness is not None
    blurred = measured(board().filter(ImageFilter.GaussianBlur(6)))
    assert blurred.sharpness is not None
    assert blurred.sharpness < found.sharpness / 3


@pytest.mark.parametrize("number", range(9))
def test_detail_is_found_where_it_lies(number: int) -> None:
    picture = Image.new("L", (300, 300), 128)
    row, column = divmod(number, 3)
    picture.paste(Image.effect_noise((60, 60), 120), (column * 100 + 20, row * 100 + 20))
    assert measured(picture).by_detail()[0].place == PLACES[number]


def test_a_small_vivid_spot_is_the_accent() -> None:
    picture = Image.new("RGB", (300, 200), (110, 115, 120))
    picture.paste((220, 30, 20), (250, 150, 280, 180))
    found = measured(picture).accent
    assert found is not None
    assert (found.name, found.family, found.place) == ("red", "red", "bottom right")
    assert found.share == pytest.approx(0.015, abs=0.005)


def test_transparency_is_flattened_on_white_and_told() -> None:
    picture = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (0, 0, 100, 25))
    found = measured(picture)
    assert found.transparent == pytest.approx(0.75, abs=0.01)
    assert [one.name for one in found.palette] == ["white", "bright blue"]
    assert measured(picture.convert("RGB")).transparent == 0


def test_an_animation_is_counted_and_the_wanted_frame_measured() -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in (RED, (0, 0, 255), WHITE)]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:], loop=0)
    assert [measure(data, frame=number).palette[0].family for number in range(3)] == ["red", "blue", "white"]
    assert measure(data, frame=9).palette[0].name == "white"
    assert (measure(data).frames, measure(data).media_type) == (3, "image/gif")


def test_pages_and_second_views_are_no_animation() -> None:
    pages = [photo(60, 40), photo(60, 40)]
    for form in ("TIFF", "MPO"):
        assert measure(saved(pages[0], form, save_all=True, append_images=pages[1:])).frames == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_measured_upright(orientation: int) -> None:
    found = measure(turned(orientation))
    assert (found.width, found.height) == (64, 48)
    corners = [found.cells[number].colour for number in (0, 2, 6, 8)]
    assert [corner.removeprefix("bright ") for corner in corners] == ["red", "green", "blue", "white"]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16", "I", "F", "CMYK", "RGBA", "YCbCr", "LAB", "HSV"])
def test_every_mode_is_measured(mode: str) -> None:
    form = {"YCbCr": "JPEG", "HSV": "PNG"}.get(mode, "TIFF")
    grey = Image.new("L", (90, 60), 255)
    grey.paste(0, (0, 0, 45, 60))
    if mode == "I;16":
        picture = Image.frombytes("I;16", (90, 60), b"".join(bytes([value, value]) for value in grey.tobytes()))
    else:
        picture = grey.convert("RGB").convert("RGB" if mode in ("LAB", "HSV") else mode)
    found = measured(picture, form)
    assert found.brightness == pytest.approx(0.5, abs=0.02)
    assert [round(cell.light) for cell in found.cells][::2] == [0, 1, pytest.approx(0, abs=1), 0, 1]
    assert found.monochrome


def test_a_palette_with_transparency_is_measured() -> None:
    picture = halves().quantize(4)
    assert measured(picture, "GIF", transparency=picture.getpixel((0, 0))).transparent == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (2, 3), (5000, 2)])
def test_extreme_shapes_are_measured(size: tuple[int, int]) -> None:
    found = measured(Image.new("RGB", size, RED))
    assert (found.width, found.height) == size
    assert found.palette[0].name == "bright red"
    assert len(found.cells) == 9


def test_the_digest_is_of_the_pixels() -> None:
    same = measured(halves()), measured(halves(), "BMP")
    assert same[0].digest == same[1].digest != measured(board()).digest


def shot() -> Image.Exif:
    """EXIF with everything that must not get out beside what may."""
    tags = Image.Exif()
    tags[0x010F], tags[0x0110], tags[0x0112] = "NIKON CORPORATION", "NIKON D750", 6
    tags[0x013B], tags[0x8298], tags[0x010E], tags[0x013C] = "Ann Secret", "© Ann Secret", "SECRET house", "SECRET-PC"
    sub = tags.get_ifd(0x8769)
    sub[0x829A], sub[0x829D], sub[0x8827], sub[0x920A] = Ratio(1, 200), Ratio(56, 10), 400, Ratio(50, 1)
    sub[0x9003] = "2019:05:03 14:20:59"
    sub[0xA430], sub[0xA431], sub[0xA435], sub[0x9286] = (
        "Ann Secret",
        "SECRET-6012345",
        "SECRET-778",
        b"ASCII\0\0\0SECRET",
    )
    gps = tags.get_ifd(0x8825)
    gps[1], gps[2], gps[3], gps[4], gps[29] = "N", (52.0, 31.0, 12.0), "E", (13.0, 24.0, 18.0), "2019:05:03"
    return tags


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_camera_facts_without_places_serials_and_names(form: str) -> None:
    found = measured(photo(), form, exif=shot())
    assert (found.width, found.height) == (240, 320)
    camera = found.camera
    assert camera.name == "NIKON D750"
    if form != "TIFF":  # Pillow 13 writes no exposure into one
        assert (camera.exposure, camera.aperture, camera.iso) == (0.005, 5.6, 400)
        assert (camera.focal_length, camera.taken_at) == (50.0, "2019-05-03T14:20:59")
    told = repr(asdict(found))
    assert not [word for word in ("SECRET", "Ann", "6012345", "52.", "13.4", "GPS") if word in told]


def test_a_file_without_exif_has_no_camera() -> None:
    assert measured(photo(), "JPEG").camera == Camera()
    assert not Camera()


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (0x829A, (1, 0)),
        (0x829A, (-1, 5)),
        (0x829D, (0, 0)),
        (0x8827, "many"),
        (0x9003, "yesterday"),
        (0x920A, (9**9, 1)),
    ],
)
def test_nonsense_in_exif_is_left_out(tag: int, value: Any) -> None:
    tags = Image.Exif()
    tags.get_ifd(0x8769)[tag] = value
    assert measured(photo(), "JPEG", exif=tags).camera == Camera()


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it skips
def test_damaged_exif_costs_facts_and_not_the_picture() -> None:
    whole = saved(photo(32, 24), "JPEG", exif=shot())
    start = whole.index(b"Exif\0\0") + 6
    chance = random.Random(7)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 4, 20))):
            data[start + chance.randrange(180)] = chance.randrange(256)
        found = measure(bytes(data))
        assert {found.width, found.height} == {32, 24}
        assert "SECRET-6" not in repr(found)


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_an_image_error(data: bytes) -> None:
    with pytest.raises(ImageError), decoding("PNG"):
        measure(data)


def test_a_cut_picture_is_an_image_error() -> None:
    data = saved(photo(), "PNG")
    with pytest.raises(InvalidImage), decoding("PNG"):
        measure(data[: len(data) // 2])


def test_a_large_photo_costs_little_more_than_its_reduced_decode() -> None:
    data = saved(photo(1000, 750).resize((4000, 3000)), "JPEG", quality=85)

    def decode() -> None:
        with Image.open(BytesIO(data)) as picture:
            picture.draft(None, (384, 288))
            picture.load()

    def best(work: Any) -> float:
        times = []
        for _ in range(4):
            start = thread_time()
            work()
            times.append(thread_time() - start)
        return min(times)

    assert best(lambda: measure(data)) < best(decode) + 0.15


@pytest.mark.parametrize(
    ("size", "aspect", "orientation"),
    [
        ((6000, 4000), "3:2", "landscape"),
        ((1080, 1920), "9:16", "portrait"),
        ((1000, 990), "1:1", "square"),
        ((2390, 1000), "2.39:1", "landscape"),
        ((700, 600), "7:6", "landscape"),
        ((2350, 1001), "2.35:1", "landscape"),
    ],
)
def test_shapes_have_names(size: tuple[int, int], aspect: str, orientation: str) -> None:
    shape = Measurements(*size)
    assert (shape.aspect, shape.orientation) == (aspect, orientation)
