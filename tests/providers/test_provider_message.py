"""Provider messages: one short line without keys, prompts, addresses or paths."""

import json
import time
from typing import Any

import pytest

from providers.base import Credentials, Turn, VisionRequest
from providers.provider_message import MAX_LENGTH, provider_message

CPU_SECONDS = 3.0
KEY = "key-of-the-caller"
PROMPT = 'Describe the "secret" harbour at night, in plain words, for the catalogue of 1987.'
REQUEST = VisionRequest("m1", PROMPT, 5, turns=(Turn("user", "short"),), credentials=Credentials(KEY))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"error": {"message": "Too many images"}}, "Too many images"),
        ({"detail": [{"loc": ["body"], "msg": "Field required"}]}, "Field required"),
        ('{"error": {"message": "Too many images"}}', "Too many images"),
        ("plain text", "plain text"),
        ("<html><h1>502 Bad Gateway</h1></html>", ""),
        ({"error": None}, ""),
        (json.loads("[" * 600 + "]" * 600), ""),
        ("a\r\n\x1b[31mred\u202e\x00 b", "a [31mred b"),
        (f"Incorrect key: {KEY}.", "Incorrect key: [key]."),
        ("Incorrect API key provided: sk-abc***************wxyz9.", "Incorrect API key provided: [key]."),
        ("header api_key=abcdef is wrong", "header [key] is wrong"),
        ("image " + "QUJD" * 30 + " is broken", "image [data] is broken"),
        ("data:image/png;base64,AAAA is broken", "[image] is broken"),
        ("upstream http://10.0.0.7:8000/v1 failed, 10.0.0.8:80 too", "upstream [address] failed, [address] too"),
        ("File /srv/models/app.py, line 3", "File [path], line 3"),
        (f"cannot render '{PROMPT}' here", "cannot render ' […]"),
        ("said short", "said short"),
    ],
)
def test_messages(body: Any, expected: str) -> None:
    assert provider_message(body, REQUEST) == expected


@pytest.mark.parametrize("length", [9, 20, 31, 32, 33, 82])
@pytest.mark.parametrize("start", [0, 7, 16, 31])
def test_a_message_is_cut_where_32_characters_of_the_prompt_begin(start: int, length: int) -> None:
    letters = "".join(filter(str.isalnum, PROMPT))
    echo = letters[start : start + length]
    expected = "reason: […]" if len(echo) >= 32 else f"reason: {echo}"
    assert provider_message(f"reason: {echo}", REQUEST) == expected
    short = VisionRequest("m1", letters[start : start + 9], 5)
    assert provider_message(f"reason: {echo}", short) == "reason: […]"


def test_a_message_is_compared_with_long_prompts_in_bounded_time() -> None:
    request = VisionRequest("m1", "a" * 8_000_000, 5)
    before = time.process_time()
    assert provider_message(("a" * 31 + "b ") * 30, request).startswith("a" * 31)
    assert time.process_time() - before < CPU_SECONDS


def test_a_long_message_is_cut() -> None:
    message = provider_message({"error": "word " * 1000}, REQUEST)
    assert len(message) == MAX_LENGTH
    assert message.endswith("…")
