"""The graceful shutdown of one worker: refuse new work, let running work finish, then cancel the rest."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bridge.errors import ShuttingDown

_LINGER_SECONDS = 5.0  # for cancelled work to send its last event or response
_POLL_SECONDS = 0.1


class Drain:
    """The running work of one worker. `begun`: new work is refused. `over`: the remaining work was cancelled."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.over = False
        self._end = 0.0
        self._under_way: set[asyncio.Task[Any]] = set()

    @contextmanager
    def under_way(self, late: bool = False) -> Iterator[None]:
        """Register the current task as running work. Raises ShuttingDown during a shutdown, unless `late` is true."""
        if self.begun.is_set() and not late:
            raise ShuttingDown
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        try:
            yield
        finally:
            self._under_way.discard(task)

    def ends_this(self) -> bool:
        """Return whether the shutdown cancelled the current task. If so, clear the cancellation."""
        task = asyncio.current_task()
        if not self.over or task is None:
            return False
        task.uncancel()
        return True

    def hurry(self) -> None:
        """End the grace period now."""
        self._end = 0.0

    async def run(self, grace: float) -> None:
        """Shut down: wait `grace` seconds for the running work, then cancel the rest and wait for its end."""
        self.begun.set()
        await self._wait(grace)
        self.over = True
        for task in self._under_way:
            task.cancel()
        await self._wait(_LINGER_SECONDS)

    async def _wait(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._end = loop.time() + seconds
        while self._under_way and loop.time() < self._end:
            await asyncio.wait(self._under_way, timeout=_POLL_SECONDS)
