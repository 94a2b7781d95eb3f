"""Captions as a stream of events: whatever happens after `started` is told, and `done` is the last word."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from bridge.captioning import report
from bridge.captioning.analyze import Analysis, analyze
from bridge.captioning.caption import caption_planned
from bridge.captioning.events import Done, Emit, Failed, Partial, Progress, Reset, Result, Started
from bridge.captioning.models import Caption, JsonObject
from bridge.captioning.plan import Plan
from bridge.captioning.services import Services
from bridge.captioning.watch import Stage, Telling
from bridge.dispatch.legacy.attempts import Calls
from bridge.errors import Cancelled
from bridge.telemetry import Stages
from perspectives.perspective import Perspective


class Stream:
    """The events of one request. `id` is the caller's name for it.

    `over`: nothing is left but to tell the end, and cancelling cannot change it. `reason`: what is told of each
    perspective that has not ended when the stream is cancelled.
    """

    def __init__(self, id: str, request_id: str, emit: Emit, services: Services) -> None:
        self.id = id
        self._request_id = request_id
        self._emit = emit
        self._resources = services
        self._stages = Stages()
        self._waiting: list[str] = []
        self._telling: set[asyncio.Future[None]] = set()
        self.over = False
        self.reason: Exception = Cancelled()

    async def caption(self, plan: Plan, upload: bytes | None = None) -> None:
        """Make one caption and tell of it."""
        name, calls = plan.perspective.name, Calls()

        async def work() -> Done:
            try:
                watch = self._watch(plan.perspective)
                made = await caption_planned(plan, upload, self._resources, self._request_id, watch, calls)
            except Exception as error:  # noqa: BLE001 (the outermost handler of a stream: every end is an event)
                await self._ended(name, error)
                return self._done(calls)
            await self._ended(name, made)
            return Done(id=self.id, usage=made.usage, timing=made.timing)

        await self._run([name], work)

    async def analyze(self, analysis: Analysis, upload: bytes | None = None) -> None:
        """Make several and tell of each as it ends."""

        async def work() -> Done:
            found = await analyze(analysis, upload, self._resources, self._request_id, self._watch, self._ended)
            return Done(id=self.id, usage=found.usage(), timing=found.timing)

        await self._run(analysis.names, work)

    async def _run(self, names: list[str], work: Callable[[], Awaitable[Done]]) -> None:
        """Do the work between `started` and `done`; when it is cancelled, tell so of each that has not ended."""
        self._waiting = names
        try:
            await self._emit(Started(id=self.id, request_id=self._request_id))
            done = await work()
        except asyncio.CancelledError:
            self.over = True
            await asyncio.gather(*self._telling, return_exceptions=True)
            for name in list(self._waiting):
                await self._ended(name, self.reason)
            await self._emit(self._done())
            raise
        self.over = True
        await self._emit(done)

    async def _ended(self, name: str, made: Caption | Exception) -> None:
        told = (
            Result(id=self.id, perspective=name, caption=made)
            if isinstance(made, Caption)
            else Failed(self.id, name, made)
        )
        # From here on it has ended: a cancel that comes while it is told must neither cut it nor tell another end.
        self._waiting.remove(name)
        telling = asyncio.ensure_future(self._emit(told))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)
        await asyncio.shield(telling)

    def _done(self, calls: Calls | None = None) -> Done:
        usage = report.usage(calls.usage) if calls else None
        return Done(id=self.id, usage=usage, timing=self._stages.milliseconds())

    def _watch(self, perspective: Perspective) -> Telling:
        name = perspective.name
        return Telling(
            perspective, partial(self._progress, name), partial(self._partial, name), partial(self._reset, name)
        )

    async def _progress(self, name: str, stage: Stage, detail: str) -> None:
        await self._emit(Progress(id=self.id, perspective=name, stage=stage, detail=detail))

    async def _partial(self, name: str, result: JsonObject) -> None:
        await self._emit(Partial(id=self.id, perspective=name, result=result))

    async def _reset(self, name: str, reason: str) -> None:
        await self._emit(Reset(id=self.id, perspective=name, reason=reason))
