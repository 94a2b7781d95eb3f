"""What may be told of a caption while it is made. Nobody needs to watch; who does is never told too much."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Literal, cast

from pydantic_core import from_json

from bridge.captioning.read import off_the_loop
from perspectives.perspective import Perspective
from providers.base import BaseClient, Completion, Delta, JsonObject, VisionRequest
from providers.dialects import restore
from providers.errors import BadReply

Stage = Literal["queued", "image", "model", "retry", "fallback", "validate", "synthesis"]
INTERVAL = 0.05
_SHARE = 20  # a long text is read so often that reading it takes a twentieth of the time


class Watch:
    """Watches nothing. `streams` says whether text is wanted as it comes."""

    streams = False

    async def stage(self, stage: Stage, detail: str = "") -> None:
        """A stage begins."""

    async def text(self, piece: str) -> None:
        """The model wrote this much more."""

    async def reset(self, reason: str) -> None:
        """What was written so far does not count."""

    async def again(self, reason: str) -> None:
        """The same target is asked once more."""
        await self.stage("retry", reason)
        await self.reset(reason)

    async def instead(self, target: str, reason: str) -> None:
        """Another target is asked."""
        await self.stage("fallback", target)
        await self.reset(reason)


class Telling(Watch):
    """Tells stages, resets and the object as far as it has come, at most every 50 ms and only when it changed."""

    streams = True

    def __init__(
        self,
        perspective: Perspective,
        stage: Callable[[Stage, str], Awaitable[None]],
        partial: Callable[[JsonObject], Awaitable[None]],
        reset: Callable[[str], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._schema = perspective.json_schema
        self._stage, self._partial, self._reset = stage, partial, reset
        self._clock = clock
        self._text: list[str] = []
        self._told: JsonObject | None = None
        self._last = float("-inf")
        self._interval = INTERVAL

    async def stage(self, stage: Stage, detail: str = "") -> None:
        """Tell it."""
        await self._stage(stage, detail)

    async def text(self, piece: str) -> None:
        """Keep it; tell the whole object so far when the time has come."""
        self._text.append(piece)
        began = self._clock()
        if began - self._last < self._interval:
            return
        text = "".join(self._text)
        found = await off_the_loop(lambda: so_far(text, self._schema), text, self._schema)
        self._last = self._clock()
        self._interval = max(INTERVAL, _SHARE * (self._last - began))
        if found and found != self._told:
            self._told = found
            await self._partial(found)

    async def reset(self, reason: str) -> None:
        """Forget what was written, and tell why."""
        self._text.clear()
        self._told = None
        await self._reset(reason)


def so_far(text: str, schema: JsonObject) -> JsonObject | None:
    """The object that an unfinished text holds, strings cut where they are; None before there is one."""
    start = text.find("{")
    if start < 0:
        return None
    try:
        value = from_json(text[start:], allow_partial="trailing-strings", allow_inf_nan=False)
    except ValueError:
        return None
    restored = restore(value, schema) if isinstance(value, dict) else None
    return restored if isinstance(restored, dict) else None


def watched(client: BaseClient, watch: Watch) -> Callable[[VisionRequest], Awaitable[Completion]]:
    """One call to `client`, streamed when someone watches: both doors share everything that comes after."""
    if not watch.streams:
        return client.complete

    async def complete(request: VisionRequest) -> Completion:
        stream = cast("AsyncGenerator[Delta | Completion]", client.stream(request))
        async with aclosing(stream):  # who cancels means now, not when the generator is collected
            async for piece in stream:
                if isinstance(piece, Completion):
                    return piece
                await watch.text(piece.text)
        raise BadReply("The answer ended before it was whole.")

    return complete
