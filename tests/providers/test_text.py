"""The text of an answer: whole characters, bounded length, no runaway white space."""

from itertools import repeat

import pytest

from providers.base import VisionRequest
from providers.chat_completions import ChatAnswer
from providers.errors import BadReply, Truncated, WhitespaceRunaway
from providers.gateways import SPECS
from providers.text import MAX_CHARACTERS, WHITESPACE_RUN, AnswerText
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


def test_white_space_between_tokens_is_not_a_runaway() -> None:
    text = AnswerText("X", streamed=True)
    for piece in repeat(" " * (WHITESPACE_RUN - 1) + "1,", 5):
        text.add(piece)
    whole = AnswerText("X", streamed=False)
    whole.add('{"a": 1}' + "\n" * 2 * WHITESPACE_RUN)


@pytest.mark.parametrize(("text", "expected"), [('{"a":' + "\n" * 100, WhitespaceRunaway), ('{"a": "b', Truncated)])
def test_a_truncated_answer_that_ends_in_white_space_is_a_runaway(text: str, expected: type[Truncated]) -> None:
    answer = ChatAnswer(SPECS[0], VisionRequest("m", "p", 5), streamed=False)
    message = {"message": {"content": text}, "finish_reason": "length"}
    answer.read_response({"choices": [message]})
    with pytest.raises(Truncated) as caught:
        answer.completion()
    assert type(caught.value) is expected
