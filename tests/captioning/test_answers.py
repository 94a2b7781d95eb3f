"""Reading the JSON object in a model's text, in bounded time."""

import json
import time
from typing import Any

import pytest

from bridge.captioning.answers import PARTIAL_INTERVAL, PartialObjects, objects, partial_object, read
from bridge.deadline import Deadline
from bridge.run import Run
from perspectives.catalog import LIBRARY, load
from perspectives.perspective import Perspective, parse
from tests.contract.schemas import PLAIN
from tests.servers.instances import instance

CPU_SECONDS = 3.0
MIB = 1024 * 1024


def perspective(schema: dict[str, Any]) -> Perspective:
    return parse({"name": "mine", "prompt": "Look.", "json_schema": schema})


@pytest.mark.parametrize("text", ["", "no", "[1]", '"text"', "{", '{"a": 1', '{"a": NaN}', '{"a": Infinity}', "null"])
def test_text_without_an_object_has_no_result(text: str) -> None:
    assert list(objects(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "```" + "a" * MIB,
        "```" * (MIB // 3),
        "{" * MIB,
        '{"b":[1' + ",1" * 20_000 + "]}x" * 20,
        '{"a":' * 100_000,
        "[" * 100_000 + "{}",
    ],
    ids=lambda text: text[:8],
)
def test_untrusted_text_is_read_in_bounded_time(text: str) -> None:
    before = time.process_time()
    assert all(isinstance(value, dict) for value in objects(text))
    assert time.process_time() - before < CPU_SECONDS


def test_a_text_that_contains_the_marks_of_thoughts_is_read() -> None:
    schema = {"type": "object", "properties": {"text": {"type": "string"}, "box": {"type": "object"}}}
    answer = {"text": "<think> and </think>", "box": {"x": 1}}
    assert read(json.dumps(answer), perspective(schema).validator).result == answer


def test_unpaired_surrogates_are_replaced() -> None:
    r"""An unpaired surrogate cannot be encoded in UTF-8; the pair `\ud83d\udef6` is a canoe."""
    text = r'{"a\ud800": ["x\ud800y", {"b": "\udc00"}], "c": "\ud83d\udef6"}'
    assert next(objects(text)) == {"a\ufffd": ["x\ufffdy", {"b": "\ufffd"}], "c": "\N{CANOE}"}
    assert list(objects('{"a":' * 400 + r'"\ud800"' + "}" * 400))


STEP = 1 / 16  # seconds: longer than the interval, and exact in sums


async def results(*pieces: str, every: float = STEP, streaming: bool = True) -> list[Any]:
    """Return the partial objects of text that arrives in pieces, one `every` seconds."""
    partials: list[Any] = []
    now = 100.0
    run = Run(Deadline(60), emit=lambda event: partials.append(event.result), streaming=streaming)
    stream = PartialObjects(run, perspective(PLAIN), lambda: now)
    for piece in pieces:
        await stream.add(piece)
        now += every
    return partials


async def test_each_partial_object_is_cumulative() -> None:
    assert await results('{"capt', 'ion": "a ', 'cup"', ', "note": "wa', 'rm"}') == [
        {"caption": "a "},
        {"caption": "a cup"},
        {"caption": "a cup", "note": "wa"},
        {"caption": "a cup", "note": "warm"},
    ]


async def test_partial_objects_at_most_every_fifty_milliseconds_and_when_they_change() -> None:
    assert PARTIAL_INTERVAL < STEP
    assert await results('{"caption": "', *"0123456789", every=STEP / 4) == [
        {"caption": ""},
        {"caption": "0123"},
        {"caption": "01234567"},
    ]
    assert await results('{"caption": "a"', " ", "  ", ",", ' "note": null', "}") == [{"caption": "a"}]
    assert await results('{"caption": "a"', streaming=False) == []


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("Sure, here it", None),
        ("{", {}),
        ('{"caption"', {}),
        ('{"caption": "caf\\u00', {"caption": "caf"}),
        ('{"caption": "a \\', {"caption": "a "}),
        ('```json\n{"caption": "a cup', {"caption": "a cup"}),
        ('{"caption": "a cup", "note": null', {"caption": "a cup"}),
        ('{"caption": "a cup", "score": NaN', None),
        ('{"caption": "a cup"} Anything else?', {"caption": "a cup"}),
        ('{"a":' * 100_000, None),
        ('{"caption": "a \\ud83d', {"caption": "a "}),
        ('<think>Maybe {"caption": "a dog"}', None),
        ('{"caption": "the text <think></think> {', {"caption": "the text <think></think> {"}),
        ('Maybe {"caption": "a dog"}</think>\n{"caption": "a c', {"caption": "a c"}),
    ],
)
def test_the_object_in_an_unfinished_text(text: str, result: object) -> None:
    assert partial_object(text, PLAIN) == result


def test_every_prefix_of_every_library_answer() -> None:
    for schema in (perspective.json_schema for perspective in load([LIBRARY]).all()):
        text = json.dumps(instance(schema))
        for end in range(1, len(text), 31):
            result = partial_object(text[:end], schema)
            assert result is None or set(result) <= set(schema["properties"])
