"""Random bytes, changes and words: whatever is received, only errors of ours are raised."""

import asyncio
import os
import re
import tomllib
from base64 import b64encode, encodebytes, urlsafe_b64encode
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.captioning.problems import code_of
from bridge.errors import ImageError
from bridge.images import sources, workspace
from bridge.images.decoder import DecoderPool
from bridge.images.limits import MIB, ImageLimits
from bridge.images.prepare import prepare
from providers.profiles import profile
from tests.hostile.image_makers import FORMATS, photo, sample, saved

BASE64_ROWS = tomllib.loads((Path(__file__).parent / "images_base64.toml").read_text("utf-8"))["spelling"]
HEIF = find_spec("pillow_heif") is not None
LIMITS = ImageLimits(max_pixels=1_000_000, heif=HEIF)
KNOWN = sorted(FORMATS) if HEIF else sorted(set(FORMATS) - {"heic", "heic tiles"})
bounded = settings(
    max_examples=50,
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
changes = st.lists(
    st.tuples(st.sampled_from(["set", "cut", "insert", "drop", "copy"]), st.floats(0, 1), st.binary(max_size=12)),
    min_size=1,
    max_size=5,
)
Take = Callable[[bytes, str], str]


@pytest.fixture(scope="module")
def take() -> Iterator[Take]:
    """Load and prepare an image; return the sentence of a rejection, "." when there is none."""

    async def prepared(data: bytes, kind: str) -> None:
        source = sources.from_upload(data, LIMITS)
        accepted, measured = profile(kind, "m").image, kind == "builtin"
        result = await prepare(source, accepted, resize=None, limits=LIMITS, decoder=decoder, statistics=measured)
        assert result.image.width * result.image.height <= LIMITS.max_pixels

    def taken(data: bytes, kind: str) -> str:
        return rejection(lambda: runner.run(prepared(data, kind)))

    decoder = DecoderPool(1, 512 * MIB, 20)
    with asyncio.Runner() as runner:
        yield taken
        runner.run(decoder.aclose())


def rejection(action: Callable[[], object]) -> str:
    try:
        action()
    except ImageError as error:
        return error.message
    return "."


def mutated(data: bytes, edits: list[tuple[str, float, bytes]]) -> bytes:
    for edit, where, words in edits:
        at = int(len(data) * where)
        if edit == "set":
            data = data[:at] + words + data[at + len(words) :]
        elif edit == "cut":
            data = data[:at]
        elif edit == "insert":
            data = data[:at] + words + data[at:]
        elif edit == "drop":
            data = data[:at] + data[at + len(words) :]
        else:
            data = data[:at] + data[at // 2 : at // 2 + 64] + data[at:]
    return data


@bounded
@given(st.sampled_from(KNOWN), changes, st.sampled_from(["openai", "ollama", "builtin"]))
def test_changed_images(take: Take, of: str, edits: list[tuple[str, float, bytes]], kind: str) -> None:
    assert take(mutated(sample(of), edits), kind).endswith(".")


@bounded
@given(st.one_of(st.text(max_size=80), st.from_regex(r"\A(data:[a-z/;= ]{0,20})?[A-Za-z0-9+/=%\\\s-]{0,60}\Z")))
def test_random_base64(text: str) -> None:
    assert rejection(lambda: sources.inspect(sources.decode_base64(text, LIMITS)[0], LIMITS)) != "."


def spellings() -> dict[str, str]:
    """Return spellings of an image whose base64 has `+`, `/` and two characters of padding."""
    data = saved(photo(), "JPEG")
    data += b"\0" * ((1 - len(data)) % 3)
    plain = b64encode(data).decode()
    assert {"+", "/"} <= set(plain)
    assert plain.endswith("==")
    return {
        "plain": plain,
        "url": urlsafe_b64encode(data).decode(),
        "bare": plain.rstrip("="),
        "quoted": quote(plain, safe=""),
        "lines": encodebytes(data).decode(),
        "head": plain[:100],
        "tail": plain[100:],
    }


@pytest.mark.parametrize("row", BASE64_ROWS, ids=lambda row: row["expect"])
def test_base64_as_clients_write_it(row: dict[str, Any]) -> None:
    """Decode every text of `images_base64.toml`, in which names in braces are spellings of the image."""
    outcomes = {}
    for text in row["texts"]:
        written = re.sub(r"\{(\w+)\}", lambda match: spellings().get(match[1], match[0]), text)
        try:
            sources.inspect(sources.decode_base64(written, LIMITS)[0], LIMITS)
            outcomes[text] = "accepted"
        except ImageError as error:
            outcomes[text] = code_of(error)
    assert outcomes == dict.fromkeys(row["texts"], row["expect"])


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
    contents: list[bytes] = []
    message = rejection(lambda: contents.append(workspace.read(opening + "/".join(parts), root, 1000)))
    assert str(tmp_path) not in message
    assert contents in ([], [b"inside"])
