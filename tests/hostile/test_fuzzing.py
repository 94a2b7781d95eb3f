"""Random base64, spellings and answers: parsing succeeds or raises one of the expected errors."""

import json
import os
import re
import string
import tomllib
from base64 import b64encode, encodebytes, urlsafe_b64encode
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.captioning.answers import read
from bridge.captioning.problems import code_of
from bridge.errors import ImageError
from bridge.images import sources
from bridge.images.limits import ImageLimits
from perspectives import InvalidPerspective, compile_schema
from tests.hostile.image_makers import photo
from tests.images.samples import saved
from tests.perspectives.schemas import GARBAGE, schemas

BASE64_ROWS = tomllib.loads((Path(__file__).parent / "images_base64.toml").read_text("utf-8"))["spelling"]
LIMITS = ImageLimits(max_pixels=1_000_000, heif=find_spec("pillow_heif") is not None)
bounded = settings(
    max_examples=50,
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@bounded
@given(st.one_of(st.text(max_size=80), st.from_regex(r"\A(data:[a-z/;= ]{0,20})?[A-Za-z0-9+/=%\\\s-]{0,60}\Z")))
def test_random_text_is_not_a_base64_image(text: str) -> None:
    with pytest.raises(ImageError):
        sources.inspect(sources.decode_base64(text, LIMITS), LIMITS)


def spellings() -> dict[str, str]:
    """Return the spellings of an image whose base64 contains `+`, `/` and two padding characters."""
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
def test_spellings_of_base64(row: dict[str, Any]) -> None:
    """Decode every text of `images_base64.toml`. Names in braces refer to spellings of the image."""
    outcomes = {}
    for text in row["texts"]:
        written = re.sub(r"\{(\w+)\}", lambda match: spellings().get(match[1], match[0]), text)
        try:
            sources.inspect(sources.decode_base64(written, LIMITS), LIMITS)
            outcomes[text] = "accepted"
        except ImageError as error:
            outcomes[text] = code_of(error)
    assert outcomes == dict.fromkeys(row["texts"], row["expect"])


TEXTS = st.text(st.sampled_from('{}[]",:\\`\n 0159eE.-+u\ud83d\x00' + string.ascii_letters), max_size=60)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(schemas(), TEXTS, GARBAGE)
def test_any_text_can_be_read_as_an_answer(schema: dict[str, Any], text: str, value: Any) -> None:
    with suppress(InvalidPerspective):
        validator = compile_schema(schema)
        for answer in (text, f"{text} {json.dumps(value)}", f"```{json.dumps({'a': value})}```{text}"):
            json.dumps(read(answer, validator).result, ensure_ascii=False, allow_nan=False).encode()
