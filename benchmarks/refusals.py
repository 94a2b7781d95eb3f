"""Measure how long malformed images take to be rejected, and the costliest accepted ones."""

from collections.abc import Iterator

from PIL import Image

from benchmarks.photos import saved
from benchmarks.report import Report, Table, Target, percentile
from benchmarks.running import Running, bridge, settle, stub
from tests.hostile.caption_client import CaptionClient, Response
from tests.hostile.image_cases import ACCEPTED, cases
from tests.hostile.image_makers import encoded
from tests.hostile.image_makers_malformed import jpeg_scans

SIDES = (8160, 6120)  # a little less than 50 megapixels
TARGET = 2.0
SHOWN = 8
Answers = list[tuple[str, Response]]


def run() -> Report:
    """Send the table of bad and odd images, one at a time, then valid ones at the limit of pixels."""
    with stub() as provider, bridge(provider) as service, bridge() as builtin:
        settle()
        answers = [*_table(service, "a provider"), *_table(builtin, "builtin")]
        costly = _costly(service)
    rejected = [(name, answer) for name, answer in answers if answer.code != ACCEPTED]
    accepted = [(name, answer) for name, answer in answers if answer.code == ACCEPTED]
    counts = Table(
        ("images", "requests", "p50", "p99", "slowest"), (_row("rejected", rejected), _row("accepted", accepted))
    )
    slowest = sorted(answers, key=lambda pair: -pair[1].seconds)[:SHOWN]
    rows = tuple((name, answer.code, _ms(answer.seconds)) for name, answer in (*slowest, *costly))
    worst = max(answer.seconds for _, answer in rejected)
    target = Target("Slowest rejection of a malformed image", TARGET, worst, "s")
    return Report(
        "Malformed images", (counts, Table(("slowest, and costliest accepted", "code", "took"), rows)), [target]
    )


def _table(service: Running, provider: str) -> Answers:
    """Base64 and upload of the quick ones; the large ones as base64."""
    answers = []
    with CaptionClient(service.url, concurrency=1) as client:
        client.send_upload(encoded("jpeg"))  # the first request loads the SDK
        for case in (*cases(), *cases(large=True)):
            answers.append((f"{case.name}, {provider}", client.send_base64(case.data())))
            if not case.large:
                answers.append((f"{case.name}, {provider}, upload", client.send_upload(case.data())))
    return answers


def _costly(service: Running) -> Answers:
    with CaptionClient(service.url, concurrency=1) as client:
        return [(f"valid: {name}", client.send_upload(data)) for name, data in _large()]


def _large() -> Iterator[tuple[str, bytes]]:
    """Images at the limit of pixels, each costly in its format's way."""
    noise = Image.effect_noise(SIDES, 60)
    shades = Image.merge("RGB", (noise, noise.transpose(Image.Transpose.ROTATE_180), Image.new("L", SIDES, 90)))
    yield "JPEG, 20 scans of 50 megapixels", jpeg_scans(*SIDES, 20)
    yield "progressive JPEG of noise", saved(shades, "JPEG", quality=20, progressive=True)
    yield "PNG with transparency", saved(Image.new("RGBA", SIDES, (9, 9, 9, 9)), "PNG", compress_level=1)
    yield "PNG of 16 bits", saved(Image.new("I;16", SIDES, 500), "PNG", compress_level=1)
    lab = Image.frombytes("LAB", SIDES, bytes(SIDES[0] * SIDES[1] * 3))
    yield "LAB TIFF, LZW", saved(lab, "TIFF", compression="tiff_lzw")
    yield "WebP of noise", saved(shades, "WEBP", quality=10, method=0)
    yield "AVIF of noise", saved(shades, "AVIF", quality=40, speed=10)


def _row(name: str, answers: Answers) -> tuple[str, ...]:
    seconds = [answer.seconds for _, answer in answers]
    return name, str(len(answers)), *(_ms(percentile(seconds, percent)) for percent in (50, 99)), _ms(max(seconds))


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
