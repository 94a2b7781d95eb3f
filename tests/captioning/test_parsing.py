"""The lenient reader forgives spelling, never content."""

import pytest

from bridge.captioning.read import objects

WANTED = {"a": 1, "b": {"c": [1, 2]}}
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
def test_the_object_is_found_however_it_is_wrapped(text: str) -> None:
    assert next(objects(text)) == WANTED


def test_raw_control_characters_inside_strings_are_forgiven() -> None:
    assert next(objects('{"a": "one\ntwo\tthree\x01"}')) == {"a": "one\ntwo\tthree\x01"}


def test_every_object_in_prose_is_offered_in_order() -> None:
    assert list(objects('First {"a": 1}, then {"b": 2}.')) == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(
    "text", ["", "no", "[1, 2]", '"text"', "{", '{"a": 1', '{"a": NaN}', '{"a": Infinity}', "null"]
)
def test_what_is_no_object_is_not_made_one(text: str) -> None:
    assert list(objects(text)) == []


@pytest.mark.parametrize("text", ['{"a":' * 100_000, "[" * 100_000 + "{}", "{" * 200_000, '{"a": ' + "9" * 5_000 + "}"])
def test_hostile_text_ends_at_once(text: str) -> None:
    for found in objects(text):
        assert isinstance(found, dict)


def test_half_a_character_is_replaced_where_json_escapes_it() -> None:
    r"""Nothing can be written in UTF-8 with it; `\ud83d\udef6` together are a canoe."""
    text = r'{"a\ud800": ["x\ud800y", {"b": "\udc00"}], "c": "\ud83d\udef6"}'
    assert next(objects(text)) == {"a\ufffd": ["x\ufffdy", {"b": "\ufffd"}], "c": "\N{CANOE}"}
    assert list(objects('{"a":' * 400 + r'"\ud800"' + "}" * 400))
