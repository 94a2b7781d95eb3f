"""Patience that ends: a timer of a connection, and the pace of what arrives on it."""

import asyncio
from collections.abc import Callable
from functools import cache

from bridge.settings import Settings, load

STALL_SECONDS = 30.0
INTERVAL_SECONDS = 5.0


@cache
def settings() -> Settings:
    """The settings of this process, read once."""
    return load()


class Timer:
    """One timer of a connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, over: Callable[[], None]) -> None:
        """`over` is called when it runs out."""
        self._loop = loop
        self._over = over
        self._handle: asyncio.TimerHandle | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and has not run out."""
        return self._handle is not None

    def start(self, seconds: float) -> None:
        """Run out after so many seconds from now."""
        self.stop()
        self._handle = self._loop.call_later(seconds, self._run_out)

    def stop(self) -> None:
        """Do not run out."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _run_out(self) -> None:
        self._handle = None
        self._over()


class Pace:
    """How quickly something long arrives, looked at every few seconds."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        over: Callable[[], None],
        excused: Callable[[], bool],
        interval: float = INTERVAL_SECONDS,
    ) -> None:
        """`over` is called when it is too slow; `excused`: whether we are the ones who do not read."""
        self._over = over
        self._excused = excused
        self._interval = interval
        self._timer = Timer(loop, self._look)
        self._arrived = 0

    def begin(self) -> None:
        """Something begins to arrive; what already does goes on."""
        if settings().min_send_rate and not self._timer.running:
            self._arrived = 0
            self._timer.start(self._interval)

    def count(self, size: int) -> None:
        """So many bytes came."""
        self._arrived += size

    def end(self) -> None:
        """It is whole."""
        self._timer.stop()

    def _look(self) -> None:
        if self._arrived < settings().min_send_rate * self._interval and not self._excused():
            self._over()
        else:
            self.begin()
