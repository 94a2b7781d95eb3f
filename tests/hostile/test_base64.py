"""Base64 as clients write it, against the real service."""

import base64
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.hostile.asking import Asker
from tests.hostile.image_makers import photo, saved
from tests.service import Service

ROWS = tomllib.loads((Path(__file__).parent / "images_base64.toml").read_text("utf-8"))["spelling"]
STATUS = {"accepted": 200, "invalid_image": 422, "unsupported_image": 415}


@pytest.fixture(scope="module")
def asker() -> Iterator[Asker]:
    with Service() as service, Asker(service.url) as asker:
        yield asker


def spellings() -> dict[str, str]:
    """Return spellings of an image whose base64 has `+`, `/` and two characters of padding."""
    data = saved(photo(), "JPEG")
    data += b"\0" * ((1 - len(data)) % 3)
    plain = base64.b64encode(data).decode()
    assert "+" in plain
    assert "/" in plain
    assert plain.endswith("==")
    return {
        "plain": plain,
        "url": base64.urlsafe_b64encode(data).decode(),
        "bare": plain.rstrip("="),
        "quoted": quote(plain, safe=""),
        "lines": base64.encodebytes(data).decode(),
        "head": plain[:100],
        "tail": plain[100:],
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["expect"])
def test_every_spelling(asker: Asker, row: dict[str, str | list[str]]) -> None:
    expect, known = str(row["expect"]), spellings()
    texts = list(row["texts"])
    written = []
    for text in texts:
        for name, value in known.items():
            text = text.replace(f"{{{name}}}", value)
        written.append({"base64": text})
    wrong = [
        f"{text!r}: {one.status} {one.code} {one.detail}"
        for text, one in zip(texts, asker.ask(written), strict=True)
        if (one.code, one.status) != (expect, STATUS[expect])
    ]
    assert not wrong, "\n".join(wrong)
