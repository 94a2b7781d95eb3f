"""Prompts filled in and results as text."""

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perspectives import MissingVariables, UnknownVariables, parse, render

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "n": {"type": "number"},
        "tags": {"type": "array", "items": {}},
        "hair-color": {"type": "string"},
        "text": {"type": "string"},
    },
}


def made(prompt: str = "p", template: str | None = None, **more: Any) -> Any:
    return parse({"name": "x", "prompt": prompt, "json_schema": SCHEMA, "context_template": template, **more})


def test_variables_are_filled_in_once_and_other_braces_are_literal() -> None:
    one = made('Say {word} as {"word": "{word}"} {{word}} {0} {other} {}', variables=["word"])
    value = "{word} {other} \\1 %s"
    expected = f'Say {value} as {{"word": "{value}"}} {{{value}}} {{0}} {{other}} {{}}'
    assert render.prompt(one, {"word": value}) == expected
    assert [each.pointer for each in one.warnings] == ["/prompt"]


def test_all_missing_variables_are_named_and_defaults_stand_in() -> None:
    entries = [
        {"name": "a"},
        {"name": "b", "default": "B"},
        {"name": "c", "required": True},
        {"name": "d", "required": False},
    ]
    one = made("{a}{b}{c}{d}", variables=entries)
    with pytest.raises(MissingVariables) as missing:
        render.prompt(one, {"x": "1"})
    assert missing.value.names == ("a", "c")
    assert render.prompt(one, {"a": "1", "c": ""}) == "1B"
    with pytest.raises(UnknownVariables) as unknown:
        render.prompt(one, {"a": "1", "c": "2", "y": "3", "z": "4"})
    assert (unknown.value.names, unknown.value.known) == (("y", "z"), ("a", "b", "c", "d"))


def test_variables_may_be_told_by_name() -> None:
    one = made("{a}", variables={"a": {"description": "d", "default": "A"}})
    assert [(each.name, each.description, each.default) for each in one.variables] == [("a", "d", "A")]


def test_placeholders_of_a_file_without_variables_are_optional_and_blank() -> None:
    one = made('Do {this_thing}, as {"json": 1}.')
    assert [each.name for each in one.variables] == ["this_thing"]
    assert render.prompt(one, {}) == 'Do , as {"json": 1}.'
    assert [each.pointer for each in one.warnings] == ["/prompt"]
    assert made("{thing}", variables=[]).variables == ()


@given(
    st.lists(
        st.sampled_from(["{", "}", "{a}", "{b}", "{1}", "{a b}", "x", "\n", "{ü}", "{{", "$a", "\\"]), max_size=12
    ),
    st.text(max_size=8),
)
def test_only_declared_placeholders_change(pieces: list[str], value: str) -> None:
    prompt = "p" + "".join(pieces)
    one = made(prompt, variables=["a"])
    assert render.prompt(one, {"a": value}) == value.join(prompt.split("{a}"))


@given(st.text(alphabet=string.printable, min_size=1, max_size=60).filter(str.strip))
def test_a_prompt_without_declared_variables_is_never_changed(prompt: str) -> None:
    assert render.prompt(made(prompt, variables=[]), {}) == prompt


@pytest.mark.parametrize(
    ("template", "result", "text"),
    [
        ("{text} ({n})", {"text": "A {n} dog", "n": 0.5}, "A {n} dog (0.5)"),
        ("{tags}", {"tags": ["a", "b", ""]}, "a, b"),
        ("{tags}", {"tags": [{"tag": "sun", "confidence": 1}, {"tag": "sea"}]}, "sun, sea"),
        ("{tags}", {"tags": [{"id": "n1", "label": "boat"}]}, "boat"),
        ("{tags}", {"tags": [{"from_node": "boat", "to_node": "pier", "how": "at"}]}, "boat pier at"),
        ("{tags}", {"tags": [{"x": 1, "y": True, "z": None}]}, "x: 1, y: yes"),
        ("{hair-color}", {"hair-color": "red"}, "red"),
        ("{gone}|{text}|{a.b}", {"text": "x"}, "|x|{a.b}"),
        ("{gone}", {"n": 1, "text": "first"}, "first"),
        ("{text}", {"text": "", "tags": ["x"]}, ""),
        (None, {"n": 1, "hair-color": "", "text": "t"}, "t"),
        (None, {"n": 1, "tags": ["ä"]}, '{"n":1,"tags":["ä"]}'),
        (None, {}, "{}"),
    ],
)
def test_a_result_as_text(template: str | None, result: dict[str, Any], text: str) -> None:
    assert render.caption(made(template=template), result) == text


def test_a_deep_value_is_written_in_linear_time() -> None:
    value: Any = 1
    for _ in range(90):
        value = {"x": value}
    assert render.caption(made(template="{tags}"), {"tags": [value]}).endswith("x: 1")
