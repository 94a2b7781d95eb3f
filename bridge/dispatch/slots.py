"""How many calls a provider gets at once: the others wait their turn, and not too many of them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from anyio import CapacityLimiter

from bridge.deadline import Deadline, DeadlineExceeded

_RETRY_AFTER = 1.0


class Overloaded(Exception):
    """So many calls wait for this provider that one more would wait in vain."""

    provider: str | None = None  # the label of the target that is full; set by who chose it

    def __init__(self) -> None:
        super().__init__("Too many requests wait for this provider. Try again in a moment.")
        self.retry_after = _RETRY_AFTER


class Slots:
    """The slots of one provider; first come, first served."""

    def __init__(self, at_once: int, waiting: int) -> None:
        """`at_once`: calls under way. `waiting`: how many may wait beside them."""
        self._at_once = at_once
        self._waiting = waiting
        self._limiter: CapacityLimiter | None = None

    @property
    def load(self) -> tuple[int, int]:
        """Calls under way, and calls that wait."""
        if self._limiter is None:
            return 0, 0
        return self._limiter.borrowed_tokens, self._limiter.statistics().tasks_waiting

    @asynccontextmanager
    async def slot(self, deadline: Deadline, queued: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """Hold a slot; `queued` is told when there is none free. Raises Overloaded and DeadlineExceeded."""
        limiter = self._limiter = self._limiter or CapacityLimiter(self._at_once)
        holder = object()
        if limiter.available_tokens < 1:
            if limiter.statistics().tasks_waiting >= self._waiting:
                raise Overloaded
            await queued()
        try:
            async with asyncio.timeout(deadline.left()):
                await limiter.acquire_on_behalf_of(holder)
        except TimeoutError:
            raise DeadlineExceeded(deadline.seconds, "waiting for a free slot at the provider") from None
        try:
            yield
        finally:
            limiter.release_on_behalf_of(holder)
