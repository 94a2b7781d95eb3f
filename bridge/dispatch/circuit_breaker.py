"""The circuit breaker of an endpoint: after failures in a row it gets no calls, then a trial call decides."""

from collections.abc import Callable
from math import inf
from typing import Literal

BreakerState = Literal["closed", "open", "half_open"]
_DISTINCT_ERRORS = 3


class CircuitBreaker:
    """Opens after `failures` in a row, for `open_seconds` of `clock`; 0 failures: never.

    Each call holds the epoch that `start` returned. The epoch changes when the breaker opens or closes, and the end
    of a call from an earlier epoch is ignored.
    """

    def __init__(self, failures: int, open_seconds: float, clock: Callable[[], float]) -> None:
        self._limit = failures
        self._open_seconds = open_seconds
        self._clock = clock
        self._failures = 0
        self._server_errors: list[tuple[bytes, bytes]] = []
        self._open = False
        self._open_until = -inf
        self._held_by_probe = False
        self._probe_would_fail = False
        self._trial_running = False
        self._epoch = 0
        self._last_success = -inf

    @property
    def state(self) -> BreakerState:
        """Return closed (calls pass), open (none passes) or half_open (one trial call passes)."""
        if not self._open:
            return "closed"
        return "half_open" if not self._held_by_probe and self._clock() >= self._open_until else "open"

    @property
    def admits(self) -> bool:
        """Return whether a call may start now."""
        return not self._open or (not self._trial_running and self.state == "half_open")

    @property
    def trial_running(self) -> bool:
        """Return whether a trial call is about to decide."""
        return self._open and self._trial_running

    @property
    def wait(self) -> float:
        """Return the seconds until a call may start because time passes; inf while a call or a probe decides."""
        if not self._open:
            return 0.0
        return inf if self._held_by_probe or self._trial_running else max(self._open_until - self._clock(), 0.0)

    @property
    def retry_after(self) -> float:
        """Return the seconds to report to a rejected caller, at least 1."""
        return max(self._open_until - self._clock(), 1.0)

    def start(self) -> int:
        """Start a call, in the half-open state the trial. Return the epoch."""
        self._trial_running = self._open
        return self._epoch

    def succeeded(self, epoch: int) -> None:
        """Record that the server responded to the call, whatever the response says."""
        if epoch != self._epoch:
            return
        self._failures = 0
        self._server_errors.clear()
        self._last_success = self._clock()
        if self._open:
            self._open = self._held_by_probe = self._trial_running = False
            self._epoch += 1

    def failed(self, epoch: int, count: int = 1, *, probe_would_fail: bool = False) -> None:
        """Record a call that says the server is down. `probe_would_fail`: no response came at all."""
        if epoch != self._epoch or not self._limit:
            return
        self._failures += count
        if self._open or self._failures >= self._limit:
            self._trip(self._open_seconds)
            self._probe_would_fail = probe_would_fail

    def server_error(self, epoch: int, image: bytes, schema: bytes) -> None:
        """Record an unexplained 500, which the request may have caused.

        Three in a row count as three failures when their requests differ in both digests, `image` and `schema`; fewer
        do not count.
        """
        if epoch != self._epoch or not self._limit:
            return
        if any(image == other_image or schema == other_schema for other_image, other_schema in self._server_errors):
            self.released(epoch)
            return
        self._server_errors.append((image, schema))
        errors = len(self._server_errors)
        if errors < _DISTINCT_ERRORS:
            self.released(epoch)
        else:
            self.failed(epoch, errors if errors == _DISTINCT_ERRORS else 1)

    def released(self, epoch: int) -> None:
        """Record a call that ended without evidence: another one may be the trial."""
        if epoch == self._epoch:
            self._trial_running = False

    def probe_failed(self, since: float, seconds: float) -> bool:
        """Open until a probe succeeds; `seconds`: until the next probe. Return False when it is ignored.

        A probe that was sent at `since`, before a call succeeded, is ignored.
        """
        if self._last_success >= since:
            return False
        self._trip(seconds)
        self._held_by_probe = True
        return True

    def probe_succeeded(self) -> None:
        """Allow a trial call, unless the breaker opened because of responses, which a probe does not see."""
        if self.state == "open" and (self._held_by_probe or self._probe_would_fail):
            self._held_by_probe = False
            self._open_until = self._clock()

    def _trip(self, seconds: float) -> None:
        self._open = True
        self._held_by_probe = self._trial_running = False
        self._open_until = self._clock() + seconds
        self._server_errors.clear()
        self._epoch += 1
