"""Random bytes, random changes, random words: whatever comes in, only errors of ours come out."""

import asyncio
import os
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.errors import ImageError
from bridge.images import heif, sources, workspace
from bridge.images.limits import ImageLimits
from bridge.images.prepare import prepare
from bridge.images.sources import Source
from providers.profiles import profile
from tests.hostile.pictures import FORMATS, picture

LIMITS = ImageLimits(max_pixels=1_000_000, heif=heif.available())
QUICK = sorted(set(FORMATS) - {"heic", "heic tiles"})  # each HEIC costs a process
bounded = settings(
    max_examples=250,
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
changes = st.lists(
    st.tuples(st.sampled_from(["set", "cut", "insert", "drop", "copy"]), st.floats(0, 1), st.binary(max_size=12)),
    min_size=1,
    max_size=5,
)


def mutated(data: bytes, deeds: list[tuple[str, float, bytes]]) -> bytes:
    for deed, where, words in deeds:
        at = int(len(data) * where)
        if deed == "set":
            data = data[:at] + words + data[at + len(words) :]
        elif deed == "cut":
            data = data[:at]
        elif deed == "insert":
            data = data[:at] + words + data[at:]
        elif deed == "drop":
            data = data[:at] + data[at + len(words) :]
        else:
            data = data[:at] + data[at // 2 : at // 2 + 64] + data[at:]
    return data


def refusal(deed: Callable[[], object]) -> str:
    """What the caller is told, "." when it goes well; anything but an error of ours goes through."""
    try:
        deed()
    except ImageError as error:
        return error.message
    return "."


def taken(source: Source, kind: str) -> None:
    """Prepare it for a target; what comes of it is no more than was allowed."""
    made = asyncio.run(prepare(source, profile(kind, "m").image, resize=None, limits=LIMITS, measure=kind == "builtin"))
    assert made.image.width * made.image.height <= LIMITS.max_pixels


@bounded
@given(st.sampled_from(QUICK), changes, st.sampled_from(["openai", "ollama", "builtin"]))
def test_changed_pictures(of: str, deeds: list[tuple[str, float, bytes]], kind: str) -> None:
    assert refusal(lambda: taken(sources.from_upload(mutated(picture(of), deeds), LIMITS), kind)).endswith(".")


@pytest.mark.skipif(not heif.available(), reason="needs pillow-heif")
@settings(bounded, max_examples=200)
@given(st.sampled_from(["heic", "heic tiles"]), changes)
def test_changed_heic_headers(of: str, deeds: list[tuple[str, float, bytes]]) -> None:
    """The reader of boxes, which sees them first."""
    data = picture(of)
    near = [(deed, where * 700 / len(data), words) for deed, where, words in deeds]
    try:
        header = sources.from_upload(mutated(data, near), LIMITS).header
    except ImageError:
        return
    assert header.width * header.height <= LIMITS.max_pixels


@pytest.mark.slow
@pytest.mark.skipif(not heif.available(), reason="needs pillow-heif")
@settings(bounded, max_examples=60)
@given(st.sampled_from(["heic", "heic tiles"]), changes)
def test_changed_heic_pictures(of: str, deeds: list[tuple[str, float, bytes]]) -> None:
    assert refusal(lambda: taken(sources.from_upload(mutated(picture(of), deeds), LIMITS), "openai")).endswith(".")


@bounded
@given(st.sampled_from([data[:16] for data in map(picture, QUICK)]), st.binary(max_size=400))
def test_random_bytes_behind_a_signature(signature: bytes, rest: bytes) -> None:
    assert refusal(lambda: taken(sources.from_upload(signature + rest, LIMITS), "openai")).endswith(".")


@bounded
@given(st.one_of(st.text(max_size=80), st.from_regex(r"\A(data:[a-z/;= ]{0,20})?[A-Za-z0-9+/=%\\\s-]{0,60}\Z")))
def test_random_base64(text: str) -> None:
    with pytest.raises(ImageError):
        sources.from_base64(text, LIMITS)


@bounded
@given(st.data())
def test_base64_with_space_anywhere(data: st.DataObject) -> None:
    text = b64encode(picture("png")).decode()
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(st.sampled_from(" \t\r\n\f\v\u00a0\u2028\u200b\ufeff")) + text[at:]
    assert sources.from_base64(text, LIMITS).data == picture("png")


@bounded
@given(
    st.lists(
        st.one_of(
            st.sampled_from(["..", ".", "", "a.png", "%2e%2e", "out", "/", "\\", "\0", "~", "file:", "workspace"]),
            st.text(max_size=8),
        ),
        max_size=8,
    ),
    st.sampled_from(["", "/", "/workspace/"]),
)
def test_random_paths(tmp_path: Path, parts: list[str], opening: str) -> None:
    root = tmp_path / "workspace"
    if not root.exists():
        root.mkdir()
        (root / "a.png").write_bytes(b"inside")
        (root / "out").symlink_to("..")
        (tmp_path / "a.png").write_bytes(b"outside")
    read: list[bytes] = []
    told = refusal(lambda: read.append(workspace.read(opening + "/".join(parts), root, 1000)))
    assert str(tmp_path) not in told
    assert read in ([], [b"inside"])
