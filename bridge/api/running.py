"""A request on a socket that was accepted and is not done."""

import asyncio
from dataclasses import dataclass

from bridge.captioning.stream import Stream


@dataclass(frozen=True, slots=True)
class Running:
    """A request that was accepted."""

    stream: Stream
    task: asyncio.Task[None]

    def cancel(self, reason: Exception | None = None) -> None:
        """Stop it, once: who is cancelled twice cannot tell his end."""
        if not self.stream.over and not self.task.cancelling():
            self.stream.reason = reason or self.stream.reason
            self.task.cancel()
