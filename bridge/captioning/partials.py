"""Partial objects of a streamed answer: not too often, and only when something changed."""

import time

from bridge.captioning.parsing import off_loop, partial_object
from bridge.run import Run
from perspectives.perspective import Perspective
from providers.base import JsonObject

INTERVAL = 0.05
"""Seconds between two partial objects."""
_COST_FACTOR = 20  # parsing a long text takes at most a twentieth of the time


class PartialObjects:
    """Collects the text of one call and reports the object so far to `run`."""

    def __init__(self, run: Run, perspective: Perspective) -> None:
        self._run = run
        self._perspective = perspective
        self._pieces: list[str] = []
        self._last: JsonObject | None = None
        self._next = 0.0

    async def add(self, piece: str) -> None:
        """Add a piece of text, and report the object so far when the interval has passed."""
        self._pieces.append(piece)
        start = time.monotonic()
        if not self._run.streaming or start < self._next:
            return
        text = "".join(self._pieces)
        is_cheap = self._perspective.validator.is_cheap(len(text))
        result = await off_loop(lambda: partial_object(text, self._perspective.json_schema), is_cheap)
        end = time.monotonic()
        self._next = end + max(INTERVAL, _COST_FACTOR * (end - start))
        if result and result != self._last:
            self._last = result
            self._run.partial(result)
