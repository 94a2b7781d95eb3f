"""How a worker ends: new work is refused, what is under way may finish, and what does not is told so."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bridge.errors import ShuttingDown

LINGER_SECONDS = 5.0


class Drain:
    """The work of one worker, and where it stands with ending.

    `begun`: nothing new is taken. `over`: what was still under way has been cancelled, because of the end and not
    because its client left.
    """

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.over = False
        self._patient = True
        self._under_way: set[asyncio.Task[Any]] = set()

    @contextmanager
    def under_way(self, late: bool = False) -> Iterator[None]:
        """Wait for the running task before the worker ends, and cancel it when the time is up.

        Raises ShuttingDown when the end has begun, unless what is asked may come `late`.
        """
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
        """Whether it is the end that cancelled the running task; if so, the task may go on to tell so."""
        task = asyncio.current_task()
        if not self.over or task is None:
            return False
        task.uncancel()
        return True

    def hurry(self) -> None:
        """Give no more time to what is under way."""
        self._patient = False

    async def run(self, grace: float, linger: float = LINGER_SECONDS) -> None:
        """End: give what is under way `grace` seconds, and what is cancelled then `linger` seconds to tell so."""
        self.begun.set()
        await self._wait(grace, lambda: self._patient)
        self.over = True
        for task in self._under_way:
            task.cancel()
        await self._wait(linger, lambda: True)

    async def _wait(self, seconds: float, worthwhile: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while self._under_way and loop.time() < end and worthwhile():
            await asyncio.wait(self._under_way, timeout=min(0.1, end - loop.time()))
