"""The text of an answer: whole characters, bounded length, no runaway white space."""

import pytest

from providers.errors import BadReply, Truncated, WhitespaceRunaway
from providers.text import MAX_CHARACTERS, WHITESPACE_RUN, AnswerText, truncation
from providers.usage import Usage


def test_length_is_bounded() -> None:
    text = AnswerText("X", streamed=False)
    text.add("a" * (MAX_CHARACTERS - 1))
    assert text.add("b") == "b"
    with pytest.raises(BadReply, match="too long"):
        text.add("c")
    assert len(str(text)) == MAX_CHARACTERS


@pytest.mark.parametrize(
    ("pieces", "returned", "whole"),
    [
        (("a\ud83d", "\udef6b"), ["a", "\N{CANOE}b"], "a\N{CANOE}b"),
        (("a\ud83d", "b"), ["a", "\ufffdb"], "a\ufffdb"),
        (("\udef6",), ["\ufffd"], "\ufffd"),
        (("a\ud83d",), ["a"], "a"),
        (("\ud83d", "\ud83d", "\udef6"), ["", "\ufffd", "\N{CANOE}"], "\ufffd\N{CANOE}"),
        (("é", ""), ["é", ""], "é"),
    ],
)
def test_halves_of_surrogate_pairs_are_joined_or_replaced(
    pieces: tuple[str, ...], returned: list[str], whole: str
) -> None:
    text = AnswerText("X", streamed=True)
    assert [text.add(piece) for piece in pieces] == returned
    assert str(text) == whole
    str(text).encode()


def test_a_stream_of_white_space_is_a_runaway() -> None:
    text = AnswerText("X", streamed=True)
    text.usage = Usage(9, 3)
    text.add('{"a":' + " " * WHITESPACE_RUN)
    with pytest.raises(WhitespaceRunaway) as caught:
        text.add("\n")
    assert caught.value.usage == Usage(9, 3)


def test_a_truncated_answer_that_ends_in_white_space_is_a_runaway() -> None:
    assert type(truncation('{"a":' + "\n" * 100, Usage(9, 3))) is WhitespaceRunaway
    assert type(truncation('{"a": "b', Usage(9, 3))) is Truncated
