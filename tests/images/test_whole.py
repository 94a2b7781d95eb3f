"""A JPEG proved whole by its structure: what is taken decodes, and what is odd is left to the decoder."""

import random
from collections.abc import Callable
from struct import error as StructError
from typing import Any

import pytest
from PIL import Image

from bridge.errors import ImageError
from bridge.images.containers.jpeg import segments, strip
from bridge.images.whole import is_whole
from tests.images.pictures import exif, opened, photo, saved

PHOTO = strip(saved(photo(40, 30), "JPEG"))
USUAL: list[dict[str, Any]] = [
    {},
    *({"subsampling": form} for form in range(3)),
    {"optimize": True},
    {"quality": 30},
    {"icc_profile": bytes(400)},
    {"comment": b"a comment", "exif": exif(1)},
]


def segment(marker: int, number: int = 0) -> tuple[int, int]:
    """Where the photo's segment of a kind begins and ends."""
    return [(start, end) for kind, start, end in segments(PHOTO) if kind == marker][number]


def without(marker: int, number: int = 0) -> bytes:
    start, end = segment(marker, number)
    return PHOTO[:start] + PHOTO[end:]


def changed(marker: int, at: int, value: int, number: int = 0) -> bytes:
    """The photo with another byte at a place in a segment's content."""
    start, _ = segment(marker, number)
    return PHOTO[: start + 4 + at] + bytes([value]) + PHOTO[start + 5 + at :]


def overfull() -> bytes:
    """The photo with all the codes of a table said to be one bit long."""
    at = segment(0xC4)[0] + 5
    return PHOTO[:at] + bytes([sum(PHOTO[at : at + 16]), *bytes(15)]) + PHOTO[at + 16 :]


def test_a_segment_is_as_long_as_its_length_at_least() -> None:
    data = saved(photo(), "JPEG")
    trap = b"\xff\xee\x00\x00" + b"Adobe\x00\x64\x00\x00\x00\x00\x00"
    with pytest.raises(ImageError):
        strip(data[:2] + trap + data[2:])


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", USUAL)
def test_usual_photos_are_known_to_be_whole(mode: str, options: dict[str, Any]) -> None:
    assert is_whole(strip(saved(photo().convert(mode), "JPEG", **options)))


@pytest.mark.parametrize(
    ("mode", "options"), [("RGB", {"progressive": True}), ("RGB", {"restart_marker_rows": 1}), ("CMYK", {})]
)
def test_of_other_layouts_nothing_is_said(mode: str, options: dict[str, Any]) -> None:
    assert not is_whole(strip(saved(photo().convert(mode), "JPEG", **options)))


BROKEN = {
    "no quantisers": without(0xDB),
    "no quantiser of the colours": without(0xDB, 1),
    "no code of one kind": without(0xC4, 2),
    "no frame": without(0xC0),
    "two frames": PHOTO[: segment(0xC0)[0]] + PHOTO[slice(*segment(0xC0))] + PHOTO[segment(0xC0)[0] :],
    "nine bits a sample": changed(0xC0, 0, 9),
    "no height": changed(0xC0, 1, 0)[: segment(0xC0)[0] + 6] + b"\0" + PHOTO[segment(0xC0)[0] + 7 :],
    "one component too few": changed(0xC0, 5, 2),
    "the same component twice": changed(0xC0, 9, 1),
    "a sampling of 3 by 2": changed(0xC0, 7, 0x32),
    "a quantiser that is not there": changed(0xC0, 8, 3),
    "a quantiser of another number": changed(0xDB, 0, 7),
    "fewer symbols than codes": changed(0xC4, 2, 255),
    "more codes of one bit than there are": overfull(),
    "a difference of 4,000 bits": changed(0xC4, 17, 12),
    "a code of another kind": changed(0xC4, 0, 0x20),
    "a scan of fewer components": changed(0xDA, 0, 2),
    "a scan of other components": changed(0xDA, 1, 9),
    "a code that is not there": changed(0xDA, 2, 0x33),
    "a scan of part of the spectrum": changed(0xDA, 8, 5),
    "no coded data": PHOTO[: segment(0xDA)[1]] + PHOTO[-2:],
    "cut": PHOTO[:-200],
    "no end marker": PHOTO[:-2],
    "bytes after the end": PHOTO + b"\0",
    "another scan": PHOTO[:-2] + PHOTO[segment(0xDA)[0] :],
    "a marker among the coded data": PHOTO[:-20] + b"\xff\x01" + PHOTO[-20:],
    "a restart among the coded data": PHOTO[:-20] + b"\xff\xd0" + PHOTO[-20:],
    "an empty table": PHOTO[:2] + b"\xff\xdb\0\2" + PHOTO[2:],
    "a thousand comments": PHOTO[:2] + b"\xff\xfe\0\2" * 1_000 + PHOTO[2:],
    "a table over and over": PHOTO[:2] + b"\xff\xc4\xff\x02" + (b"\0\1" + bytes(16)) * 3_626 + bytes(12) + PHOTO[2:],
    "a line count": PHOTO[:2] + b"\xff\xdc\0\4\0\1" + PHOTO[2:],
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_never_called_whole(data: bytes) -> None:
    assert not is_whole(data)


def test_what_is_called_whole_decodes() -> None:
    """Damage of every kind, mostly before the coded data: libjpeg refuses two thirds of it."""
    chance = random.Random(7)
    pictures = [saved(photo(24, 17), "JPEG", **options) for options in USUAL]
    taken = sum(_is_taken(_damaged(chance.choice(pictures), chance)) for _ in range(1_500))
    assert 200 < taken < 1_300


def _damaged(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(2, data.index(b"\xff\xda") + 14)
    kinds: list[Callable[[], bytes]] = [
        lambda: data[:at] + chance.randbytes(1) + data[at + 1 :],
        lambda: data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :],
        lambda: data[:at] + data[at + chance.randrange(1, 6) :],
        lambda: data[:at] + chance.randbytes(3) + data[at:],
        lambda: data[:at] + data[chance.randrange(2, at + 1) : at] + data[at:],
        lambda: data[: chance.randrange(at, len(data))],
    ]
    return chance.choice(kinds)()


def _is_taken(data: bytes) -> bool:
    try:
        stripped = strip(data)
        taken = is_whole(stripped)
    except (ImageError, IndexError, StructError):  # what the seam in bridge.images.decoder calls malformed
        return False
    if taken:
        opened(stripped)
    return taken


def test_it_is_told_without_decoding() -> None:
    """Wrong coded bits give wrong pixels, for every decoder alike, and no failure."""
    start = segment(0xDA)[1]
    damaged = PHOTO[: start + 50] + bytes(20) + PHOTO[start + 70 :]
    assert is_whole(damaged)
    assert isinstance(opened(damaged), Image.Image)
