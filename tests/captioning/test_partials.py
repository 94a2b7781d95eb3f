"""Partial objects: the whole object so far, not too often, and only when it changed."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.captioning import partials
from bridge.captioning.parsing import partial_object
from bridge.captioning.partials import INTERVAL, PartialObjects
from bridge.deadline import Deadline
from bridge.run import PartialEvent, Run
from perspectives.catalog import LIBRARY, load
from tests.contract.schemas import PLAIN
from tests.servers.instances import instance

STEP = 1 / 16  # seconds: longer than the interval, and exact in sums


class Writer:
    """Writes pieces of text on a clock that the test moves; `results` are the partial objects."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.results: list[Any] = []
        monkeypatch.setattr(partials, "time", SimpleNamespace(monotonic=lambda: self.now))
        run = Run(Deadline(60), perspective="mine", emit=self._emit, streaming=True)
        self.partials = PartialObjects(run, PLAIN)

    def _emit(self, event: PartialEvent) -> None:
        self.results.append(event.result)

    async def write(self, *pieces: str, every: float = STEP) -> list[Any]:
        for piece in pieces:
            await self.partials.add(piece)
            self.now += every
        return self.results


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> Writer:
    return Writer(monkeypatch)


async def test_each_is_the_whole_object_so_far(writer: Writer) -> None:
    assert await writer.write('{"capt', 'ion": "a ', 'cup"', ', "note": "wa', 'rm"}') == [
        {"caption": "a "},
        {"caption": "a cup"},
        {"caption": "a cup", "note": "wa"},
        {"caption": "a cup", "note": "warm"},
    ]


async def test_at_most_every_fifty_milliseconds(writer: Writer) -> None:
    results = await writer.write('{"caption": "', *"0123456789", every=STEP / 4)
    assert INTERVAL < STEP
    assert results == [{"caption": ""}, {"caption": "0123"}, {"caption": "01234567"}]


async def test_only_when_it_changed(writer: Writer) -> None:
    assert await writer.write('{"caption": "a"', " ", "  ", ",", ' "note": null', "}") == [{"caption": "a"}]


async def test_nothing_without_a_stream(writer: Writer) -> None:
    writer.partials._run.streaming = False
    assert await writer.write('{"caption": "a"') == []


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", None),
        ("Sure, here it", None),
        ("[1, 2", None),
        ('"a cup"', None),
        ("{", {}),
        ('{"caption"', {}),
        ('{"caption": "caf\\u00', {"caption": "caf"}),
        ('{"caption": "a \\', {"caption": "a "}),
        ('```json\n{"caption": "a cup', {"caption": "a cup"}),
        ('{"caption": "a cup", "note": null', {"caption": "a cup"}),
        ('{"caption": "a cup", "score": NaN', None),
        ('{"caption": "a cup"} Anything else?', {"caption": "a cup"}),
        ("{" * 100_000, None),
        ('{"a":' * 100_000, None),
        ('{"caption": "a \\ud83d', {"caption": "a "}),
    ],
)
def test_the_object_in_an_unfinished_text(text: str, result: object) -> None:
    assert partial_object(text, PLAIN) == result


@given(st.text(st.sampled_from('{}[]":,\\ untrefalse01.eE-\n\x00éa'), max_size=40))
def test_no_text_raises(text: str) -> None:
    result = partial_object(text, PLAIN)
    assert result is None or isinstance(result, dict)


def test_every_beginning_of_every_library_answer() -> None:
    for perspective in load([LIBRARY]).all():
        schema = perspective.json_schema
        text = json.dumps(instance(schema))
        for end in range(1, len(text), 7):
            result = partial_object(text[:end], schema)
            assert result is None or set(result) <= set(schema["properties"])
