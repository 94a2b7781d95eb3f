"""What a watcher is told: the object as far as it has come, not too often, and only what is new."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.captioning.watch import INTERVAL, Telling, Watch, so_far, watched
from perspectives import perspective as perspectives
from perspectives.catalog import LIBRARY, load
from providers.base import BaseClient, Completion, Delta, Model, Profile, VisionRequest
from providers.builtin import SPEC
from providers.errors import BadReply
from tests.contract.schemas import PLAIN
from tests.servers.instances import instance

SCHEMA = perspectives.parse({"name": "mine", "prompt": "Look.", "json_schema": PLAIN}).json_schema
STEP = 1 / 16  # a sum of these is exact, and just longer than the interval
ASKED = VisionRequest(model="m", prompt="p", timeout=1)


class Told:
    """A watch on a clock that the test moves, and everything it was told."""

    def __init__(self) -> None:
        self.now = 100.0
        self.events: list[Any] = []
        mine = perspectives.parse({"name": "mine", "prompt": "Look.", "json_schema": PLAIN})
        self.watch = Telling(mine, self._stage, self._keep, self._keep, lambda: self.now)

    async def _stage(self, stage: str, detail: str) -> None:
        self.events.append((stage, detail))

    async def _keep(self, told: Any) -> None:
        self.events.append(told)

    async def write(self, *pieces: str, every: float = STEP) -> list[Any]:
        for piece in pieces:
            await self.watch.text(piece)
            self.now += every
        return self.events


async def test_the_whole_object_every_time() -> None:
    told = await Told().write('{"capt', 'ion": "a ', 'cup"', ', "note": "wa', 'rm"}')
    assert told == [
        {"caption": "a "},
        {"caption": "a cup"},
        {"caption": "a cup", "note": "wa"},
        {"caption": "a cup", "note": "warm"},
    ]


async def test_at_most_every_fifty_milliseconds() -> None:
    told = await Told().write('{"caption": "', *"0123456789", every=STEP / 4)
    assert INTERVAL < STEP
    assert told == [{"caption": ""}, {"caption": "0123"}, {"caption": "01234567"}]


async def test_only_when_it_changed() -> None:
    told = await Told().write('{"caption": "a"', " ", "  ", ",", ' "note": null', "}")
    assert told == [{"caption": "a"}]


async def test_a_reset_begins_anew() -> None:
    one = Told()
    await one.write('{"caption": "a cat on')
    await one.watch.reset("It did not fit.")
    assert await one.write('{"caption": "a cat on', ' a mat"}') == [
        {"caption": "a cat on"},
        "It did not fit.",
        {"caption": "a cat on"},
        {"caption": "a cat on a mat"},
    ]


async def test_a_slow_reader_holds_the_text_back() -> None:
    """Nothing piles up: the model's next words are not taken before the last ones were read."""
    reached, read = asyncio.Event(), asyncio.Event()

    async def slow(*_: object) -> None:
        reached.set()
        await read.wait()

    watch = Telling(perspectives.parse({"name": "mine", "prompt": "Look.", "json_schema": PLAIN}), slow, slow, slow)
    taking = asyncio.create_task(watch.text('{"caption": "a cup'))
    await reached.wait()
    assert not taking.done()
    read.set()
    await taking


async def test_stages_are_told_at_once() -> None:
    one = Told()
    await one.watch.stage("model", "tiny-vision")
    assert one.events == [("model", "tiny-vision")]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None),
        ("Sure, here it", None),
        ("[1, 2", None),
        ('"a cup"', None),
        ("{", {}),
        ('{"caption"', {}),
        ('{"caption": ', {}),
        ('{"caption": "caf\\u00', {"caption": "caf"}),
        ('{"caption": "a \\', {"caption": "a "}),
        ('```json\n{"caption": "a cup', {"caption": "a cup"}),
        ('Here it is: {"caption": "a cup"', {"caption": "a cup"}),
        ('{"caption": "a cup", "note": null', {"caption": "a cup"}),
        ('{"caption": "a cup", "score": NaN', None),
        ('{"caption": "a cup"} Anything else?', {"caption": "a cup"}),
        ("{" * 100_000, None),
        ('{"a":' * 100_000, None),
        ('{"caption": "a \\ud83d', {"caption": "a "}),
    ],
)
def test_what_an_unfinished_text_holds(text: str, found: object) -> None:
    assert so_far(text, SCHEMA) == found


@given(st.text(st.sampled_from('{}[]":,\\ untrefalse01.eE-\n\x00éa'), max_size=40))
def test_no_text_breaks_it(text: str) -> None:
    found = so_far(text, SCHEMA)
    assert found is None or isinstance(found, dict)


@pytest.mark.parametrize("name", [one.name for one in load([LIBRARY]).all()])
def test_every_beginning_of_every_library_answer(name: str) -> None:
    schema = load([LIBRARY]).get(name).json_schema
    text = json.dumps(instance(schema))
    assert so_far(text, schema) == instance(schema)
    for end in range(1, len(text)):
        found = so_far(text[:end], schema)
        assert found is None or set(found) <= set(schema["properties"])


class Writer(BaseClient):
    """A client that writes these pieces; `closed` once its stream was closed."""

    spec = SPEC

    def __init__(self, *pieces: Delta | Completion) -> None:
        self.pieces = pieces
        self.closed = False

    async def complete(self, request: VisionRequest) -> Completion:
        return Completion("whole", "m")

    async def stream(self, request: VisionRequest) -> AsyncIterator[Delta | Completion]:
        try:
            for piece in self.pieces:
                yield piece
        finally:
            self.closed = True

    async def models(self, credentials: object, timeout: float) -> tuple[Model, ...]:
        return ()

    def profile(self, model: str) -> Profile:
        return Profile()


class Stopping(Watch):
    """A watcher who has seen enough."""

    streams = True

    async def text(self, piece: str) -> None:
        raise LookupError(piece)


async def test_who_does_not_watch_is_answered_whole() -> None:
    assert (await watched(Writer(), Watch())(ASKED)).text == "whole"


async def test_who_watches_is_told_and_gets_the_completion() -> None:
    told, client = Told(), Writer(Delta('{"caption": "a"'), Delta("}"), Completion("done", "m"))
    assert (await watched(client, told.watch)(ASKED)).text == "done"
    assert told.events == [{"caption": "a"}]
    assert client.closed


async def test_a_stream_without_a_completion_is_no_answer() -> None:
    with pytest.raises(BadReply):
        await watched(Writer(Delta("x")), Told().watch)(ASKED)


async def test_a_watcher_that_stops_closes_the_stream_at_once() -> None:
    client = Writer(Delta("x"), Completion("x", "m"))
    with pytest.raises(LookupError) as stopped:
        await watched(client, Stopping())(ASKED)
    assert client.closed, stopped
