"""Measure how long malformed images take to be rejected, and the costliest accepted ones."""

import io
from collections.abc import Iterator
from statistics import median, quantiles

from PIL import Image

from benchmarks.report import Promise, Report, Table
from benchmarks.running import Running, bridge, settle, standin
from tests.hostile.asking import Answer, Asker
from tests.hostile.images_table import ACCEPTED, cases
from tests.hostile.pictures import picture
from tests.hostile.pictures_odd import jpeg_scans

SIDES = (8160, 6120)  # a little less than 50 megapixels
PROMISED = 2.0
SHOWN = 8
Told = list[tuple[str, Answer]]


def run() -> Report:
    """Send the table of bad and odd pictures, one at a time, then those that are large and sound."""
    with standin() as provider, bridge(provider) as service, bridge() as builtin:
        settle()
        told = [*_table(service, "a provider"), *_table(builtin, "builtin")]
        costly = _costly(service)
    refused = [(name, one) for name, one in told if one.code != ACCEPTED]
    taken = [(name, one) for name, one in told if one.code == ACCEPTED]
    counts = Table(("pictures", "requests", "p50", "p99", "slowest"), (_row("refused", refused), _row("taken", taken)))
    slowest = sorted(told, key=lambda pair: -pair[1].seconds)[:SHOWN]
    rows = tuple((name, one.code, _ms(one.seconds)) for name, one in (*slowest, *costly))
    worst = max(one.seconds for _, one in refused)
    promise = Promise("The slowest refusal of a bad picture", PROMISED, worst, "s")
    return Report(
        "Bad pictures", (counts, Table(("the slowest, and the costliest there are", "code", "took"), rows)), [promise]
    )


def _table(service: Running, asked: str) -> Told:
    """Base64 and upload of the quick ones; the large ones as base64."""
    told = []
    with Asker(service.url, at_once=1) as asker:
        asker.upload(picture("jpeg"))  # the first of all loads the SDK
        for case in (*cases(), *cases(large=True)):
            told.append((f"{case.name}, {asked}", asker.base64(case.data())))
            if not case.large:
                told.append((f"{case.name}, {asked}, upload", asker.upload(case.data())))
    return told


def _costly(service: Running) -> Told:
    with Asker(service.url, at_once=1) as asker:
        return [(f"sound: {name}", asker.upload(data)) for name, data in _large()]


def _large() -> Iterator[tuple[str, bytes]]:
    """Pictures at the limit of pixels, each costly in its format's way."""
    noise = Image.effect_noise(SIDES, 60)
    shades = Image.merge("RGB", (noise, noise.transpose(Image.Transpose.ROTATE_180), Image.new("L", SIDES, 90)))
    yield "JPEG, 20 scans of 50 megapixels", jpeg_scans(*SIDES, 20)
    yield "progressive JPEG of noise", _saved(shades, "JPEG", quality=20, progressive=True)
    yield "PNG with transparency", _saved(Image.new("RGBA", SIDES, (9, 9, 9, 9)), "PNG", compress_level=1)
    yield "PNG of 16 bits", _saved(Image.new("I;16", SIDES, 500), "PNG", compress_level=1)
    lab = Image.frombytes("LAB", SIDES, bytes(SIDES[0] * SIDES[1] * 3))
    yield "LAB TIFF, LZW", _saved(lab, "TIFF", compression="tiff_lzw")
    yield "WebP of noise", _saved(shades, "WEBP", quality=10, method=0)
    yield "AVIF of noise", _saved(shades, "AVIF", quality=40, speed=10)


def _saved(picture: Image.Image, form: str, **options: object) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, form, **options)
    return sink.getvalue()


def _row(name: str, told: Told) -> tuple[str, ...]:
    seconds = [one.seconds for _, one in told]
    return name, str(len(told)), _ms(median(seconds)), _ms(quantiles(seconds, n=100)[98]), _ms(max(seconds))


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
