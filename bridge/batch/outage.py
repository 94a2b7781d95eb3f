"""Caption images despite outages of the provider: wait, retry, and give up after a time limit."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress

from bridge.batch.models import End, ImageItem, Paused, Resumed, Row
from bridge.batch.rows import Job, Loaded, caption_rows
from bridge.run import Progress
from perspectives import Perspective

_WAIT_FOR = (
    *("overloaded", "provider_rate_limited", "provider_unavailable", "provider_unreachable"),
    *("rate_limited", "shutting_down"),
)
"""Codes of a provider that may recover: the image is captioned again."""
_SUSPECT = ("provider_error", "timeout")
"""Codes of failures that the image or the provider may have caused."""
_HOPELESS = (
    *("model_without_vision", "origin_refused", "provider_auth", "provider_not_allowed", "provider_quota"),
    *("unauthorized", "unknown_model"),
)
"""Codes after which no other image would succeed."""
_PAUSE = 1.0
"""Seconds between two attempts while the provider does not respond; its circuit breaker allows fewer calls."""

Report = Callable[[object], None]


class Ended(Exception):
    """The run ends early. The text is one sentence."""

    def __init__(self, end: End, reason: str) -> None:
        super().__init__(reason)
        self.end = end


class Outages:
    """Captions images with a provider that may fail. `emit`: receives the start and the end of each outage.

    `stopping`: set it to end the run. Then no image waits for the provider any more.
    """

    def __init__(self, job: Job, emit: Callable[[Paused | Resumed], Awaitable[None]]) -> None:
        self._job, self._emit = job, emit
        self._failing_since: float | None = None
        self._is_paused = False
        self._gate = asyncio.Lock()
        self.stopping = asyncio.Event()

    async def caption(
        self,
        item: ImageItem,
        perspectives: tuple[Perspective, ...],
        done: list[Row],
        report: Report | None = None,
        loaded: Loaded | None = None,
    ) -> None:
        """Caption an image; while the provider does not respond and the run is not stopping, wait and try again.

        `done`: receives the finished rows, also before an interruption. `report`: receives the stages of the image.
        Raises Ended if no image can succeed any more.
        """
        while perspectives:
            if self._is_paused and report is not None:
                report(Progress(id="", perspective="", stage="retry"))
            async with self._gate if self._is_paused else nullcontext():
                if self._is_paused and await self._is_stopped_within(_PAUSE):
                    return
                run = self._job.new_run()
                run.emit = report
                rows = await caption_rows(item, self._job, perspectives, run=run, loaded=loaded)
            down = {row.perspective for row in rows if row.failure and row.failure.code in _WAIT_FOR}
            done += [row for row in rows if row.perspective not in down]
            perspectives = tuple(each for each in perspectives if each.name in down)
            await self._judge(rows)

    async def _is_stopped_within(self, seconds: float) -> bool:
        """Wait, and return whether `stopping` is set."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        return self.stopping.is_set()

    async def _judge(self, rows: list[Row]) -> None:
        """Pause or resume, depending on how the provider responded. Raises Ended if no image can succeed any more."""
        failures = [row.failure for row in rows if row.failure]
        if hopeless := next((failure for failure in failures if failure.code in _HOPELESS), None):
            raise Ended("provider", hopeless.message)
        down = next((failure for failure in failures if failure.code in _WAIT_FOR), None)
        suspect = down or next((failure for failure in failures if failure.code in _SUSPECT), None)
        if suspect is None and not any(row.failure is None or row.attempts for row in rows):
            return  # the image failed before a call, such as a corrupt file
        if self._is_paused and down is None:
            await self._emit(Resumed())
        elif down is not None and not self._is_paused:
            await self._emit(Paused(down.message, _PAUSE))
        self._is_paused = down is not None
        if suspect is None:
            self._failing_since = None
            return
        now, limit = time.monotonic(), self._job.options.give_up_after
        self._failing_since = self._failing_since or now
        if now - self._failing_since >= limit:
            raise Ended("provider", f"No caption for {limit:g} seconds (--give-up-after): {suspect.message}")
