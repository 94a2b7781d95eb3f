"""The event stream of a request: after a cancellation, each perspective has one last event, and `done` is last."""

import asyncio

import pytest

from bridge.captioning.models import AnalyzeRequest, CaptionRequest, Done, ErrorEvent, Event, ImageRef, Result, Started
from bridge.captioning.plan import make_analysis_plan, make_plan
from bridge.captioning.services import Services
from bridge.captioning.stream import EventStream
from bridge.deadline import Deadline
from bridge.errors import ShuttingDown
from bridge.run import PartialEvent, Progress, Reset, Run
from tests.api import streams
from tests.guard import GUARD
from tests.servers import OpenAIServer
from tests.servers.behaviours import Hang

IMAGE = ImageRef(path="datasets/samples/coffee.jpg")
NAMES = ["alt_text", "graph_caption"]


@pytest.fixture
async def analysis(services: Services) -> EventStream:
    run = Run(Deadline(60), "r1")
    request = AnalyzeRequest(perspectives=list(NAMES), image=IMAGE)
    return EventStream(await make_analysis_plan(request, services, run), services, run, id="a1")


def ends(events: list[Event]) -> list[tuple[str | None, str]]:
    return sorted(
        (event.perspective or "", event.problem.code if isinstance(event, ErrorEvent) else "ok")
        for event in events
        if isinstance(event, Result | ErrorEvent)
    )


def check(events: list[Event], *names: str) -> None:
    assert [name for name, _ in ends(events)] == sorted(names)
    assert isinstance(events[0], Started)
    assert [isinstance(event, Done) for event in events] == [False] * (len(events) - 1) + [True]


@pytest.mark.parametrize("moment", [0, 1, 2, 4, 6, 8, 99])
async def test_cancelled_after_some_events(analysis: EventStream, moment: int) -> None:
    events: list[Event] = []
    async with analysis:
        async for event in analysis:
            events.append(event)
            if len(events) > moment or isinstance(event, Done):
                analysis.cancel()
                analysis.cancel(ShuttingDown())  # the first one counts
    check(events, *NAMES)
    assert {code for _, code in ends(events)} <= {"ok", "cancelled"}
    if moment == 0:
        assert ends(events) == [(name, "cancelled") for name in NAMES]


async def test_a_cancellation_during_connection_setup_is_effective(services: Services) -> None:
    """While anyio connects to several addresses, it cancels tasks itself; a cancellation could get lost then."""
    with OpenAIServer() as server:
        server.default = Hang("first")
        request = CaptionRequest.model_validate({**streams.caption(server), "image": IMAGE})
        for attempt in range(8):
            run = Run(Deadline(300), "r1")
            plan = await make_plan(request, services, run)
            async with asyncio.timeout(GUARD), EventStream(plan, services, run):
                while len(server.calls) <= attempt:
                    await asyncio.sleep(0)
                    if any(task.cancelling() for task in asyncio.all_tasks()):
                        break


async def test_unread_partial_objects_are_replaced_and_nothing_else_is_dropped(services: Services) -> None:
    """A slow reader does not delay the model, and no events accumulate."""
    run = Run(Deadline(60), "r1", "alt_text")
    plan = await make_plan(CaptionRequest(perspective="alt_text", image=IMAGE), services, run)
    stream = EventStream(plan, services, run)
    run.stage("model", "m")
    for length in range(1000):
        run.partial({"text": "x" * length})
    run.reset("retry", "again")
    for length in range(1000):
        run.partial({"text": "y" * length})
    async with stream:
        stream.cancel()
        waiting = [event async for event in stream][:5]
    assert [type(event) for event in waiting] == [Progress, PartialEvent, Progress, Reset, PartialEvent]
    assert [event.result["text"] for event in waiting if isinstance(event, PartialEvent)] == ["x" * 999, "y" * 999]
