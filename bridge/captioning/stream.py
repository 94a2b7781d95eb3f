"""Captions as a stream of events: whatever happens after `started` is told, and `done` is the last word."""

import asyncio
from functools import partial

from bridge.captioning.analyze import Analysis, analyze
from bridge.captioning.caption import caption_planned
from bridge.captioning.errors import Cancelled
from bridge.captioning.events import Done, Emit, Failed, Partial, Progress, Reset, Result, Started
from bridge.captioning.plan import Plan
from bridge.captioning.resources import Resources
from bridge.captioning.types import Caption, JsonObject
from bridge.captioning.watch import Stage, Telling
from bridge.telemetry import Stages
from perspectives.perspective import Perspective


class Stream:
    """The events of one request. `id` is the caller's name for it, `emit` sends one and waits until it is taken."""

    def __init__(self, id: str, request_id: str, emit: Emit, resources: Resources) -> None:
        self.id = id
        self._request_id = request_id
        self._emit = emit
        self._resources = resources
        self._stages = Stages()

    async def caption(self, plan: Plan, upload: bytes | None = None) -> None:
        """Make one caption and tell of it."""
        name = plan.perspective.name
        try:
            await self._start()
            made = await caption_planned(plan, upload, self._resources, self._request_id, self._watch(plan.perspective))
        except asyncio.CancelledError:
            await self._cancelled([name])
            raise
        except Exception as error:  # noqa: BLE001 (the outermost handler of a stream: every end is an event)
            await self._end(name, error)
            await self._emit(Done(id=self.id, usage=None, timing=self._stages.milliseconds()))
        else:
            await self._end(name, made)
            await self._emit(Done(id=self.id, usage=made.usage, timing=made.timing))

    async def analyze(self, analysis: Analysis, upload: bytes | None = None) -> None:
        """Make several and tell of each as it ends."""
        waiting = list(analysis.names)

        async def ended(name: str, made: Caption | Exception) -> None:
            waiting.remove(name)
            await self._end(name, made)

        try:
            await self._start()
            found = await analyze(analysis, upload, self._resources, self._request_id, self._watch, ended)
        except asyncio.CancelledError:
            await self._cancelled(waiting)
            raise
        await self._emit(Done(id=self.id, usage=found.usage(), timing=found.timing))

    async def _start(self) -> None:
        await self._emit(Started(id=self.id, request_id=self._request_id))

    async def _end(self, name: str, made: Caption | Exception) -> None:
        if isinstance(made, Caption):
            await self._emit(Result(id=self.id, perspective=name, caption=made))
        else:
            await self._emit(Failed(self.id, name, made))

    async def _cancelled(self, names: list[str]) -> None:
        for name in names:
            await self._emit(Failed(self.id, name, Cancelled()))
        await self._emit(Done(id=self.id, usage=None, timing=self._stages.milliseconds()))

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
