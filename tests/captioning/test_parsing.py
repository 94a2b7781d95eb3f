"""The object in a model's text: its surroundings and spelling vary, its content stays."""

import pytest

from bridge.captioning.parsing import objects

OBJECT = {"a": 1, "b": {"c": [1, 2]}}
TEXT = '{"a": 1, "b": {"c": [1, 2]}}'


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        f"  \n{TEXT}\n",
        f"\ufeff{TEXT}",
        f"```json\n{TEXT}\n```",
        f"```\n{TEXT}```",
        f"Here is the caption:\n```json\n{TEXT}\n```\nI hope it helps!",
        f"Sure! {TEXT} That is all.",
        f"The set {{x}} is not it. {TEXT}",
    ],
)
def test_the_object_is_read_however_it_is_wrapped(text: str) -> None:
    assert next(objects(text)) == OBJECT


def test_raw_control_characters_inside_strings_are_accepted() -> None:
    assert next(objects('{"a": "one\ntwo\tthree\x01"}')) == {"a": "one\ntwo\tthree\x01"}


def test_every_object_in_prose_is_read_in_order() -> None:
    assert list(objects('First {"a": 1}, then {"b": 2}.')) == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(
    "text", ["", "no", "[1, 2]", '"text"', "{", '{"a": 1', '{"a": NaN}', '{"a": Infinity}', "null"]
)
def test_other_text_has_no_object(text: str) -> None:
    assert list(objects(text)) == []


@pytest.mark.parametrize("text", ['{"a":' * 100_000, "[" * 100_000 + "{}", "{" * 200_000, '{"a": ' + "9" * 5_000 + "}"])
def test_hostile_text_is_read_in_bounded_time(text: str) -> None:
    for value in objects(text):
        assert isinstance(value, dict)


def test_unpaired_surrogates_are_replaced() -> None:
    r"""Nothing can be written in UTF-8 with it; `\ud83d\udef6` together are a canoe."""
    text = r'{"a\ud800": ["x\ud800y", {"b": "\udc00"}], "c": "\ud83d\udef6"}'
    assert next(objects(text)) == {"a\ufffd": ["x\ufffdy", {"b": "\ufffd"}], "c": "\N{CANOE}"}
    assert list(objects('{"a":' * 400 + r'"\ud800"' + "}" * 400))
