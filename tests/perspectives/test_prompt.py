"""Prompts rendered with variables, and results as text."""

import tracemalloc
from typing import Any

import pytest

from perspectives import Perspective, parse
from perspectives.errors import MissingVariables, UnknownVariables
from perspectives.prompt import MAX_RENDERED, render, render_caption

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "n": {"type": "number"},
        "tags": {"type": "array", "items": {}},
        "hair-color": {"type": "string"},
        "text": {"type": "string"},
    },
}


def perspective_of(prompt: str = "p", template: str | None = None, **more: Any) -> Perspective:
    return parse({"name": "x", "prompt": prompt, "json_schema": SCHEMA, "context_template": template, **more})


def test_variables_are_rendered_once_and_other_braces_are_literal() -> None:
    prompt = 'Say {word} as {"word": "{word}"} {{word}} {0} {other} {}'
    perspective = perspective_of(prompt, variables=[{"name": "word"}])
    value = "{word} {other} \\1 %s"
    expected = f'Say {value} as {{"word": "{value}"}} {{{value}}} {{0}} {{other}} {{}}'
    assert render(perspective, {"word": value}) == expected
    assert [warning.pointer for warning in perspective.warnings] == ["/prompt"]


def test_missing_and_unknown_variables_are_all_named() -> None:
    entries = [{"name": "a"}, {"name": "b", "default": "B"}, {"name": "c", "required": True}]
    perspective = perspective_of("{a}{b}{c}{d}", variables=[*entries, {"name": "d", "required": False}])
    with pytest.raises(MissingVariables) as missing:
        render(perspective, {"x": "1"})
    assert missing.value.names == ("a", "c")
    assert str(missing.value).endswith("for: a, c. It has no variable x.")
    assert render(perspective, {"a": "1", "c": ""}) == "1B"
    with pytest.raises(UnknownVariables) as unknown:
        render(perspective, {"a": "1", "c": "2", "y": "3", "z": "4"})
    assert "no variable y, z; it declares a, b, c, d." in str(unknown.value)


@pytest.mark.parametrize(
    ("template", "result", "text"),
    [
        ("{text} ({n})", {"text": "A {n} dog", "n": 0.5}, "A {n} dog (0.5)"),
        ("{tags}", {"tags": [{"tag": "sun", "confidence": 1}, {"tag": "sea"}]}, "sun, sea"),
        ("{tags}", {"tags": [{"from_node": "boat", "to_node": "pier", "how": "at"}]}, "boat pier at"),
        ("{hair-color}", {"hair-color": "red"}, "red"),
        ("{gone}|{text}|{a.b}", {"text": "x"}, "|x|{a.b}"),
        ("{tags[*].label}; {tags[0].box.x}", {"tags": [{"label": "a", "box": {"x": 1}}, {"label": "b"}, 3]}, "a, b; 1"),
        ("{tags[7]}|{tags.label}|{text[*]}|{tags[*][*]}", {"tags": [["a"], ["b"]], "text": "x"}, "|||a, b"),
        (None, {"n": 1, "hair-color": "", "text": "t"}, "t"),
        (None, {"n": 1, "tags": ["ä"]}, '{"n":1,"tags":["ä"]}'),
    ],
)
def test_result_as_text(template: str | None, result: dict[str, Any], text: str) -> None:
    assert render_caption(perspective_of(template=template), result) == text


def test_a_template_that_repeats_a_long_value_is_cut() -> None:
    tracemalloc.start()
    text = render_caption(perspective_of(template="{text}" * 100), {"text": "ä" * 500_000})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(text) == MAX_RENDERED + 1  # with an ellipsis
    assert peak < 20e6


def test_a_path_to_a_missing_field_is_a_warning() -> None:
    item = {"type": "object", "properties": {"label": {"type": "string"}}}
    schema = {"type": "object", "properties": {"objects": {"type": "array", "items": item}, "free": {"type": "object"}}}
    template = "{objects[*].label} {objects[0].lable} {objects.label} {gone.x} {free.anything}"
    perspective = parse({"prompt": "p", "json_schema": schema, "context_template": template})
    assert [warning.message for warning in perspective.warnings] == [
        "Names 'objects[0].lable', which is not a field of the answer; it is left empty.",
        "Names 'objects.label', which is not a field of the answer; it is left empty.",
        "Names 'gone.x', which is not a field of the answer; it stays as it is written.",
    ]
