"""Adaptive concurrency of calls: additive increase, multiplicative decrease (AIMD)."""

from math import inf


class AdaptiveConcurrency:
    """Limits the calls in flight between 1 and `maximum` (None: unlimited).

    A round of successes, as many as the limit, raises the limit by 1. A 429 or an overload halves it; calls that
    started before the last decrease do not lower it again.
    """

    def __init__(self, maximum: int | None = None) -> None:
        self._maximum = inf if maximum is None else maximum
        self.limit = self._maximum
        self.in_flight = 0
        self._successes = 0
        self._epoch = 0

    @property
    def has_room(self) -> bool:
        """Return whether another call may start."""
        return self.in_flight < self.limit

    def reset(self) -> None:
        """Return to the maximum: the failures that lowered the limit were an outage, not an overload."""
        self.limit = self._maximum

    def start(self) -> int:
        """Start a call; `end` takes the returned epoch."""
        self.in_flight += 1
        return self._epoch

    def end(self, epoch: int, *, success: bool = False, overload: bool = False) -> None:
        """End a call. Neither: it ended without evidence."""
        if overload and epoch == self._epoch:
            self.limit = max(min(self.limit, self.in_flight) // 2, 1)
            self._successes = 0
            self._epoch += 1
        elif success and self.limit < self._maximum:
            self._successes += 1
            if self._successes >= self.limit:
                self.limit += 1
                self._successes = 0
        self.in_flight -= 1
