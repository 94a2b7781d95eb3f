"""A request as a stream of events: whenever it is cancelled, each perspective has one end and `done` is last."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from bridge.captioning.analyze import plan_analysis
from bridge.captioning.events import Done, Event, Failed, Result, Started
from bridge.captioning.models import AnalyzeRequest, CaptionRequest, ImageRef
from bridge.captioning.plan import plan
from bridge.captioning.services import Services, open_services
from bridge.captioning.stream import Stream
from bridge.errors import Cancelled
from bridge.settings import Settings
from tests.service import WORKSPACE

PHOTO = ImageRef(path="datasets/samples/coffee.jpg")
NAMES = ["alt_text", "graph_caption"]
Job = Callable[[Stream, Services], Coroutine[Any, Any, None]]


@pytest.fixture(scope="module")
async def services(anyio_backend: str) -> AsyncIterator[Services]:
    async with open_services(Settings(workspace=WORKSPACE)) as opened:
        yield opened


async def caption(stream: Stream, services: Services) -> None:
    request = CaptionRequest(perspective="alt_text", image=PHOTO)
    await stream.caption(await plan("alt_text", request, services))


async def analysis(stream: Stream, services: Services) -> None:
    await stream.analyze(await plan_analysis(AnalyzeRequest(perspectives=list(NAMES), image=PHOTO), services))


class Reader:
    """Takes every event but the first of one type: that one waits until `read`."""

    def __init__(self, slow: type[Any] | None = None) -> None:
        self.slow = slow
        self.reached, self.read = asyncio.Event(), asyncio.Event()
        self.told: list[Event] = []

    async def take(self, event: Event) -> None:
        if isinstance(event, self.slow or ()) and not self.reached.is_set():
            self.reached.set()
            await self.read.wait()
        self.told.append(event)

    @property
    def ends(self) -> list[tuple[str, str]]:
        """Each perspective's ends, in order."""
        found = [one for one in self.told if isinstance(one, Result | Failed)]
        return sorted((one.perspective, type(getattr(one, "error", one)).__name__) for one in found)


@pytest.mark.parametrize(("job", "names"), [(caption, NAMES[:1]), (analysis, NAMES)])
async def test_a_whole_story(services: Services, job: Job, names: list[str]) -> None:
    reader = Reader()
    await job(Stream("a1", "r1", reader.take, services), services)
    assert reader.told[0] == Started(id="a1", request_id="r1")
    assert reader.ends == [(name, "Result") for name in sorted(names)]
    assert isinstance(reader.told[-1], Done)


@pytest.mark.parametrize(("job", "names"), [(caption, NAMES[:1]), (analysis, NAMES)])
@pytest.mark.parametrize("moment", [Started, Result])
async def test_cancelled_while_a_slow_reader_holds_an_event(
    services: Services, job: Job, names: list[str], moment: type[Any]
) -> None:
    reader = Reader(moment)
    task = asyncio.create_task(job(Stream("a1", "r1", reader.take, services), services))
    await reader.reached.wait()
    task.cancel()
    reader.read.set()
    await asyncio.wait([task])
    assert task.cancelled()
    assert {name for name, _ in reader.ends} == set(names)
    assert len(reader.ends) == len(names)
    cancelled = [end for _, end in reader.ends].count(Cancelled.__name__)
    assert cancelled == len(names) if moment is Started else cancelled < len(names)
    assert [type(one) for one in reader.told].count(Done) == 1
    assert isinstance(reader.told[-1], Done)


@pytest.mark.parametrize("job", [caption, analysis])
async def test_it_is_over_when_done_is_all_that_is_left(services: Services, job: Job) -> None:
    reader = Reader(Done)
    stream = Stream("a1", "r1", reader.take, services)
    task = asyncio.create_task(job(stream, services))
    assert not stream.over
    await reader.reached.wait()
    assert stream.over
    reader.read.set()
    await task


async def test_it_is_over_when_its_cancelling_is_told(services: Services) -> None:
    reader = Reader(Failed)
    stream = Stream("a1", "r1", reader.take, services)
    task = asyncio.create_task(caption(stream, services))
    await asyncio.sleep(0)
    task.cancel()
    await reader.reached.wait()
    assert stream.over
    reader.read.set()
    await asyncio.wait([task])
    assert reader.ends == [("alt_text", "Cancelled")]
