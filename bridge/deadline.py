"""The deadline of a request."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class DeadlineExceeded(Exception):
    """The deadline of the request has passed."""

    def __init__(self, seconds: float, stage: str) -> None:
        """`seconds`: the request's time limit. `stage`: the interrupted work, such as "waiting for the model"."""
        super().__init__(
            f"The request did not finish within {round(seconds, 2):g} seconds (it was {stage}). "
            "Try again, or allow more time with 'timeout' or GRAPHCAP_TIMEOUT."
        )


class Deadline:
    """The time at which a request must end, on the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        """`seconds`: the time from now until the deadline."""
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that remain, never negative."""
        return max(0.0, self._end - time.monotonic())

    def require(self, stage: str) -> float:
        """Return the seconds that remain. Raises DeadlineExceeded when there are none."""
        left = self.left()
        if left <= 0:
            raise DeadlineExceeded(self.seconds, stage)
        return left

    @asynccontextmanager
    async def within(self, stage: str) -> AsyncIterator[None]:
        """Cancel the body of the `async with` block at the deadline, and raise DeadlineExceeded."""
        limit = asyncio.timeout(self.require(stage))
        try:
            async with limit:
                yield
        except TimeoutError:
            if limit.expired():
                raise DeadlineExceeded(self.seconds, stage) from None
            raise
