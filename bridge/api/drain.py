"""The graceful shutdown of one worker: refuse new work, let running work finish, then cancel the rest."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bridge.errors import ShuttingDown

_LINGER_SECONDS = 5.0  # for cancelled work to send its last event or response
_POLL_SECONDS = 0.1


class Drain:
    """The running work of one worker. `begun`: new work is refused. `cancelling`: the remaining work was cancelled."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cancelling = False
        self._end = 0.0
        self._tasks: set[asyncio.Task[Any]] = set()

    @contextmanager
    def track(self, *, during_shutdown: bool = False) -> Iterator[None]:
        """Register the current task as running work. Unless `during_shutdown`, raises ShuttingDown in a shutdown."""
        if self.begun.is_set() and not during_shutdown:
            raise ShuttingDown
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)

    def uncancel(self) -> bool:
        """Return whether the shutdown cancelled the current task. If so, clear the cancellation."""
        task = asyncio.current_task()
        if not self.cancelling or task is None:
            return False
        task.uncancel()
        return True

    def end_grace_period(self) -> None:
        """End the grace period now."""
        self._end = 0.0

    async def run(self, grace: float) -> None:
        """Shut down: wait `grace` seconds for the running work, then cancel the rest and wait for its end."""
        self.begun.set()
        await self._wait(grace)
        self.cancelling = True
        for task in self._tasks:
            task.cancel()
        await self._wait(_LINGER_SECONDS)

    async def _wait(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._end = loop.time() + seconds
        while self._tasks and loop.time() < self._end:
            await asyncio.wait(self._tasks, timeout=_POLL_SECONDS)
