"""Where the time of a request went."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stages:
    """Wall time of one request's stages, in milliseconds, in the order they began."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._spent: dict[str, float] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time inside the block to `stage`."""
        start = time.perf_counter()
        self._spent.setdefault(stage, 0.0)
        try:
            yield
        finally:
            self._spent[stage] += (time.perf_counter() - start) * 1000

    def add(self, stage: str, milliseconds: float) -> None:
        """Add time that was measured elsewhere."""
        self._spent[stage] = self._spent.get(stage, 0.0) + milliseconds

    def milliseconds(self) -> dict[str, float]:
        """Every stage and the `total` so far."""
        total = (time.perf_counter() - self._start) * 1000
        return {name: round(spent, 2) for name, spent in {**self._spent, "total": total}.items()}
