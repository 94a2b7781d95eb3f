"""The text of an answer as it grows."""

import pytest

from providers.errors import BadReply
from providers.text import MAX_CHARACTERS, Text


def test_it_ends_at_its_limit() -> None:
    text = Text("X")
    text.add("a" * (MAX_CHARACTERS - 1))
    assert text.add("b") == "b"
    with pytest.raises(BadReply, match="too long"):
        text.add("c")
    assert len(str(text)) == MAX_CHARACTERS


@pytest.mark.parametrize(
    ("pieces", "shown", "whole"),
    [
        (("a\ud83d", "\udef6b"), ["a", "\N{CANOE}b"], "a\N{CANOE}b"),
        (("a\ud83d", "b"), ["a", "\ufffdb"], "a\ufffdb"),
        (("\udef6",), ["\ufffd"], "\ufffd"),
        (("a\ud83d",), ["a"], "a"),
        (("\ud83d", "\ud83d", "\udef6"), ["", "\ufffd", "\N{CANOE}"], "\ufffd\N{CANOE}"),
        (("é", ""), ["é", ""], "é"),
    ],
)
def test_halves_of_characters_are_joined_or_replaced(pieces: tuple[str, ...], shown: list[str], whole: str) -> None:
    text = Text("X")
    assert [text.add(piece) for piece in pieces] == shown
    assert str(text) == whole
    str(text).encode()
