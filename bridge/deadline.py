"""The deadline of a request."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self


class DeadlineExceeded(Exception):
    """The deadline of the request has passed."""

    def __init__(self, seconds: float, stage: str) -> None:
        """`seconds`: the request's time limit. `stage`: the interrupted work, such as "waiting for the model"."""
        super().__init__(
            f"The request did not finish within {round(seconds, 2):g} seconds (it was {stage}). "
            "Try again, or allow more time with 'timeout' or GRAPHCAP_TIMEOUT."
        )


class Deadline:
    """The time at which a request must end, on the monotonic clock.

    `limits_queue`: whether the time that a call waits for a slot counts.
    """

    limits_queue = True

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

    def part(self, share: float) -> Self:
        """Return a deadline after this share of the remaining time."""
        return type(self)(self.left() * share)

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


class StepDeadline(Deadline):
    """A time limit that starts again with each step, such as a call or a pause. A call waits for a slot without limit.

    It is for runs that fill the queue themselves, so that a long queue is not a failure.
    """

    limits_queue = False

    def left(self) -> float:
        return self.seconds
