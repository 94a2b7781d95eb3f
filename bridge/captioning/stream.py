"""The events of one request as an async iterator, used by SSE, WebSocket and Python callers."""

import asyncio
from collections import deque
from typing import Self

from bridge.captioning import problems
from bridge.captioning.analyze import analyze
from bridge.captioning.caption import caption_plan, usage_out
from bridge.captioning.models import Done, ErrorEvent, Event, Result, Started
from bridge.captioning.plan import AnalysisPlan, Plan
from bridge.captioning.services import Services
from bridge.errors import Cancelled
from bridge.run import PartialEvent, Run


class EventStream:
    """Runs a plan in a task while its `async with` block is active, and yields the events.

    `started` is the first event and `done` the last. Every perspective ends in exactly one `result` or `error`. Events
    are kept until they are read. An unread partial object is replaced by the next one. No other event is dropped.
    """

    def __init__(
        self, plan: Plan | AnalysisPlan, services: Services, run: Run, *, id: str = "", partials: bool = True
    ) -> None:
        """`id`: the caller's id for the request (default: request id). `partials`: whether to yield partial objects."""
        self._plan = plan
        self._services = services
        self._run = run
        run.id, run.emit, run.streaming = id or run.request_id, self._put, partials
        self._events: deque[Event] = deque()
        self._unread_partials: dict[str, PartialEvent] = {}
        self._unfinished = list(plan.names)
        self._readable = asyncio.Event()
        self._error: Exception = Cancelled()
        self._task: asyncio.Task[object] | None = None
        self._ended = self._cancelled = False

    async def __aenter__(self) -> Self:
        self._put(Started(id=self._run.id, request_id=self._run.request_id))
        if isinstance(self._plan, AnalysisPlan):
            self._task = asyncio.create_task(analyze(self._plan, self._services, self._run))
        else:
            self._task = asyncio.create_task(caption_plan(self._plan, self._services, self._run))
        self._task.add_done_callback(self._finish)  # also runs if the task is cancelled before it begins
        return self

    async def __aexit__(self, *_: object) -> None:
        """If the work is not finished, cancel it and its provider calls."""
        if self._task is not None and not self._task.done():
            self.cancel()
            await asyncio.wait([self._task])

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._ended:
                raise StopAsyncIteration
            self._readable.clear()
            await self._readable.wait()
        event = self._events.popleft()
        if isinstance(event, PartialEvent) and self._unread_partials.get(event.perspective) is event:
            del self._unread_partials[event.perspective]
        return event

    def cancel(self, error: Exception | None = None) -> None:
        """Cancel the work. Each unfinished perspective ends in `error` (default: Cancelled), and `done` follows."""
        if self._task is not None and not self._task.done() and not self._cancelled:
            self._cancelled = True  # not `task.cancelling()`, because anyio cancels the task too (while it connects)
            self._error = error or self._error
            self._task.cancel()

    def _finish(self, task: "asyncio.Task[object]") -> None:
        """Add an `error` event for each unfinished perspective, then `done`."""
        error = None if task.cancelled() else task.exception()
        for name in list(self._unfinished):
            problem = problems.report(error if isinstance(error, Exception) else self._error, self._run)
            self._put(ErrorEvent(id=self._run.id, perspective=name, problem=problem))
        timing = self._run.timings.milliseconds()
        self._put(Done(id=self._run.id, usage=usage_out(self._run.usage), timing=timing))
        self._ended = True

    def _put(self, event: Event) -> None:
        if isinstance(event, PartialEvent):
            unread = self._unread_partials.get(event.perspective)
            if unread is not None:
                unread.result = event.result
                return
            self._unread_partials[event.perspective] = event
        elif not isinstance(event, Started | Done):
            self._unread_partials.pop(event.perspective or "", None)
            if isinstance(event, Result | ErrorEvent) and event.perspective in self._unfinished:
                self._unfinished.remove(event.perspective)
        self._events.append(event)
        self._readable.set()
