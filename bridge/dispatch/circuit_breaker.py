"""The circuit breaker of an endpoint.

closed ── failures in a row, or a failed probe ──▶ open ── time, or a successful probe ──▶ half-open
  ▲                                                 ▲                                         │
  └───────────── the trial call succeeds ───────────┴────────── the trial call fails ─────────┘
"""

from collections.abc import Callable
from math import inf
from typing import Literal

BreakerState = Literal["closed", "open", "half_open"]
_DISTINCT_ERRORS = 3
_RETRY_AFTER = 5.0
"""Seconds reported to rejected callers while a probe decides."""


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
        self._open_until: float | None = None  # None: closed; inf: until a probe succeeds
        self._silent = False  # whether the server gave no response, which a probe would notice too
        self._trial = False
        self._epoch = 0
        self._last_success = -inf

    @property
    def state(self) -> BreakerState:
        """Return closed (calls pass), open (none passes) or half_open (one trial call passes)."""
        if self._open_until is None:
            return "closed"
        return "half_open" if self._clock() >= self._open_until else "open"

    @property
    def admits(self) -> bool:
        """Return whether a call may start now."""
        return self._open_until is None or (not self._trial and self.state == "half_open")

    @property
    def trial_running(self) -> bool:
        """Return whether a trial call is about to decide."""
        return self._open_until is not None and self._trial

    @property
    def wait(self) -> float:
        """Return the seconds until a call may start because time passes; inf while a call or a probe decides."""
        if self._open_until is None:
            return 0.0
        return inf if self._trial else max(self._open_until - self._clock(), 0.0)

    @property
    def retry_after(self) -> float:
        """Return the seconds to report to a rejected caller, at least 1."""
        left = (self._open_until or 0.0) - self._clock()
        return _RETRY_AFTER if left == inf else max(left, 1.0)

    def start(self) -> int:
        """Start a call, in the half-open state the trial. Return the epoch."""
        self._trial = self._open_until is not None
        return self._epoch

    def succeeded(self, epoch: int) -> None:
        """Record that the server responded to the call, whatever the response says."""
        if epoch != self._epoch:
            return
        self._failures = 0
        self._server_errors.clear()
        self._last_success = self._clock()
        if self._open_until is not None:
            self._open_until = None
            self._epoch += 1

    def failed(self, epoch: int, *, silent: bool = False) -> None:
        """Record a call that shows that the server is down. `silent`: no response came at all."""
        if epoch == self._epoch:
            self._failures += 1
            self._open_at_limit(silent=silent)

    def server_error(self, epoch: int, image: bytes, schema: bytes) -> None:
        """Record an unexplained 500, which the request may have caused.

        Three in a row count as failures when their requests differ in both digests, `image` and `schema`; fewer do
        not count.
        """
        if epoch != self._epoch or not self._limit:
            return
        self._trial = False
        if all(image != other and schema != another for other, another in self._server_errors):
            self._server_errors.append((image, schema))
            if len(self._server_errors) >= _DISTINCT_ERRORS:
                self._open_at_limit(len(self._server_errors))

    def released(self, epoch: int) -> None:
        """Record a call that ended without evidence: another one may be the trial."""
        if epoch == self._epoch:
            self._trial = False

    def probe_failed(self, since: float) -> bool:
        """Open until a probe succeeds. Return False when a call succeeded after the probe was sent at `since`."""
        if self._last_success >= since:
            return False
        self._open(inf, silent=True)
        return True

    def probe_succeeded(self) -> None:
        """Allow a trial call, unless the breaker opened because of responses, which a probe does not see."""
        if self.state == "open" and self._silent:
            self._open_until = self._clock()

    def _open_at_limit(self, server_errors: int = 0, *, silent: bool = False) -> None:
        """Open after too many failures in a row, and after one in the half-open state."""
        if self._open_until is not None or 0 < self._limit <= self._failures + server_errors:
            self._open(self._clock() + self._open_seconds, silent=silent)

    def _open(self, until: float, *, silent: bool) -> None:
        self._open_until = until
        self._silent = silent
        self._trial = False
        self._server_errors.clear()
        self._epoch += 1
