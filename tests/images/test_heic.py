"""HEIC: read by our own reader, decoded in a process of its own that is believed nothing."""

import io
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image

from bridge.errors import ImageError, ImageTooLarge, InvalidImage, UnsupportedImage
from bridge.images import heif, sources
from bridge.images.containers import heic
from bridge.images.limits import ImageLimits
from bridge.images.prepare import Prepared, prepare
from providers.profiles import profile
from tests.images.pictures import GPS, alike, corners, exif, opened, quarters, swapped_profile
from tests.service import ROOT, Service, clean_environment

pillow_heif = pytest.importorskip("pillow_heif")
LIMITS = ImageLimits(heif=True)
SIZE = (128, 96)


def saved(picture: Image.Image | None = None, **options: object) -> bytes:
    sink = io.BytesIO()
    pillow_heif.from_pillow(picture or quarters(*SIZE)).save(sink, quality=90, **options)
    return sink.getvalue()


async def prepared(data: bytes, kind: str = "openai", limits: ImageLimits = LIMITS) -> Prepared:
    source = sources.from_upload(data, limits)
    return await prepare(source, profile(kind, "a").image, resize=None, limits=limits, measure=kind == "builtin")


def test_it_is_optional_and_the_refusal_says_how() -> None:
    with pytest.raises(UnsupportedImage, match=r"HEIC, which is optional .* GRAPHCAP_HEIF"):
        sources.from_upload(saved(), ImageLimits())


@pytest.mark.parametrize("kind", ["openai", "ollama", "gemini", "builtin"])
async def test_it_is_converted_for_every_provider(kind: str) -> None:
    done = await prepared(saved(), kind)
    assert done.image.media_type in ("image/jpeg", "image/png")
    assert "converted image/heic → " + done.image.media_type in done.actions
    assert alike(corners(opened(done.image.data)), corners(quarters(*SIZE)), within=25)
    if kind == "builtin":
        assert done.image.measurements is not None
        assert (done.image.measurements.width, done.image.measurements.media_type) == (SIZE[0], "image/heic")


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_it_is_turned_once(orientation: int) -> None:
    """Its own boxes turn it; the EXIF that says the same must not do so again."""
    picture = quarters(*SIZE)
    picture.info["exif"] = exif(orientation)
    data = saved(picture)
    done = await prepared(data)
    upright = pillow_heif.open_heif(data).to_pillow()
    assert (done.image.width, done.image.height) == upright.size
    assert alike(corners(opened(done.image.data)), corners(upright), within=25)
    assert sources.from_upload(data, LIMITS).header.upright == upright.size
    assert GPS not in done.image.data


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA"])
async def test_modes_tiles_and_deep_colours(mode: str) -> None:
    for options in ({}, {"tile_size": 64} if mode in ("L", "RGB") else {}):
        done = await prepared(saved(quarters(*SIZE).convert(mode), **options))
        assert opened(done.image.data).mode in ("L", "RGB")


async def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", SIZE, (0, 0, 0, 0))
    assert sources.from_upload(saved(clear), LIMITS).header.has_alpha
    assert min(corners(opened((await prepared(saved(clear))).image.data))[0]) > 240


async def test_a_colour_profile_is_applied() -> None:
    picture = quarters(*SIZE)
    picture.info["icc_profile"] = swapped_profile()
    done = await prepared(saved(picture))
    assert "converted to sRGB" in done.actions
    red, _, _, blue = corners(opened(done.image.data))
    assert red[2] > 150 > red[0]
    assert blue[0] > 150 > blue[2]


@pytest.mark.parametrize(
    ("limits", "size"),
    [
        (ImageLimits(heif=True, max_pixels=SIZE[0] * SIZE[1] - 1), SIZE),
        (ImageLimits(heif=True, max_side=SIZE[0] - 1), SIZE),
        (LIMITS, (40_000, 1)),
        (LIMITS, (30_000, 30_000)),
    ],
)
def test_limits_hold_before_any_decoder_sees_it(limits: ImageLimits, size: tuple[int, int]) -> None:
    data = saved().replace(b"ispe\0\0\0\0" + struct.pack(">II", *SIZE), b"ispe\0\0\0\0" + struct.pack(">II", *size))
    with pytest.raises(ImageTooLarge):
        sources.from_upload(data, limits)


@pytest.mark.parametrize("size", [(64, 48), (200, 200), (1, 1)])
async def test_a_header_that_lies_is_found_out(size: tuple[int, int]) -> None:
    data = saved().replace(b"ispe\0\0\0\0" + struct.pack(">II", *SIZE), b"ispe\0\0\0\0" + struct.pack(">II", *size))
    try:
        done = await prepared(data)
    except ImageError:
        return
    assert done.image.width * done.image.height <= size[0] * size[1]


def test_a_file_cut_anywhere_is_an_error_of_ours() -> None:
    data = saved(tile_size=64)
    for end in range(0, 1200, 3):
        try:
            sources.from_upload(data[:end], LIMITS)
        except ImageError:
            continue


@pytest.mark.parametrize("at", [0.5, 0.8, 0.99])
async def test_what_cannot_be_decoded_is_invalid(at: float) -> None:
    data = saved()
    with pytest.raises(InvalidImage):
        await prepared(data[: int(len(data) * at)])


def test_boxes_without_end_are_not_walked_to_it() -> None:
    with pytest.raises(InvalidImage, match="too many parts"):
        heic.header(b"\0\0\0\x08free" * 200_000)
    with pytest.raises(InvalidImage):
        heic.header(b"\0\0\0\x01free" + bytes(8) + bytes(100))


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def with_items(*tables: bytes) -> bytes:
    """A header of 10 x 10 pixels with these tables of items."""
    size = box(b"ispe", bytes(4) + struct.pack(">II", 10, 10))
    iprp = box(b"iprp", box(b"ipco", size) + b"".join(box(b"ipma", table) for table in tables))
    meta = box(b"meta", bytes(4) + box(b"pitm", bytes(6)) + iprp)
    return box(b"ftyp", b"heic\0\0\0\0heic") + meta + bytes(8_000)


def items(first: int, count: int) -> bytes:
    """A table in which each has the first property."""
    rows = b"".join(struct.pack(">HBB", n, 1, 1) for n in range(first, first + count))
    return bytes(4) + struct.pack(">I", count) + rows


def test_items_are_counted_over_all_tables() -> None:
    assert sources.from_upload(with_items(items(0, 500), items(500, 500)), LIMITS).header.upright == (10, 10)
    with pytest.raises(InvalidImage, match="too many parts"):
        sources.from_upload(with_items(items(0, 500), items(500, 501)), LIMITS)


@pytest.mark.parametrize("table", [items(0, 2)[:-1], items(0, 2)[:-4], items(0, 1)[:7], items(0, 1)[:3], b""])
def test_a_table_of_items_ends_with_its_box(table: bytes) -> None:
    with pytest.raises(InvalidImage, match="truncated"):
        sources.from_upload(with_items(items(0, 1), table), LIMITS)


class Slow(subprocess.Popen[bytes]):
    """A process whose killer is not done before its end has been noticed."""

    noticed = threading.Event()

    def kill(self) -> None:
        super().kill()
        self.noticed.wait(5)


def test_what_was_killed_is_known_to_be_late_at_once() -> None:
    with Slow([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with heif._killed_after(process, 0.01) as late:
            assert process.stdout.read() == b""
            assert late.is_set()
            process.noticed.set()


def test_the_decoder_is_killed_when_its_time_is_up() -> None:
    with pytest.raises(ImageTooLarge, match="longer than"):
        heif.decode(saved(), SIZE, seconds=0.01)


@pytest.mark.parametrize(
    "deed",
    [
        "open('/etc/passwd')",
        "open('/dev/null', 'w')",
        "__import__('socket').socket()",
        "__import__('subprocess').run(['true'])",
        "bytearray(10 ** 9)",
        "__import__('ctypes').string_at(0)",
        "[0 for _ in iter(int, 1)]",
    ],
    ids=["read", "write", "connect", "start", "memory", "crash", "time"],
)
def test_what_an_exploited_decoder_may_do(deed: str) -> None:
    """The process as it is confined: none of this works, and each ends it."""
    lines = ("import ctypes, subprocess, socket", "from bridge.images.heif import confine", "confine(1, 400 << 20)")
    code = "\n".join([*lines, deed, "print('done')"])
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=30, check=False)
    assert ended.returncode != 0
    assert b"done" not in ended.stdout


def test_a_service_that_takes_it(tmp_path: Path) -> None:
    from tests.hostile.asking import Asker

    with Service(GRAPHCAP_HEIF="true") as service, Asker(service.url) as asker:
        whole, cut = asker.ask_both([saved(), saved()[:-300]])
        broken = asker.upload(saved()[:200])
    assert [one.status for one in whole] == [200, 200]
    assert [(one.status, one.code) for one in (*cut, broken)] == [(422, "invalid_image")] * 3
    assert whole[0].body["image"]["media_type"] != "image/heic"


def test_without_the_package_the_service_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['pillow_heif'] = None\n")
    environment = {**clean_environment(), "PYTHONPATH": str(tmp_path), "GRAPHCAP_HEIF": "true"}
    command = [sys.executable, "-m", "bridge.cli", "serve", "--port", "0"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "pip install 'graphcap-bridge[heif]'" in ended.stderr
