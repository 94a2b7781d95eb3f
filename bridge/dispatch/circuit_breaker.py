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
_RETRY_AFTER = 5.0  # seconds to report to rejected callers while only a probe can end the open state


class CircuitBreaker:
    """Opens for `open_seconds` after `failures` failed calls in a row; never if `failures` is 0.

    `clock` returns seconds. `start` returns an epoch, a number that changes each time the breaker opens or closes.
    The caller passes it back when the call ends; the result of a call from an earlier epoch is ignored.
    """

    def __init__(self, failures: int, open_seconds: float, clock: Callable[[], float]) -> None:
        self._limit = failures
        self._open_seconds = open_seconds
        self._clock = clock
        self._failures = 0
        self._server_errors: list[tuple[bytes, bytes]] = []
        self._open_until: float | None = None  # when the open state ends (None: closed, inf: when a probe succeeds)
        self._silent = False  # the server did not respond at all, so a successful probe may end the open state
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
    def wait(self) -> float:
        """Return the seconds until a call may start. inf if this depends on a trial call or a probe."""
        if self._open_until is None:
            return 0.0
        return inf if self._trial else max(self._open_until - self._clock(), 0.0)

    @property
    def retry_after(self) -> float:
        """Return the seconds to report to a rejected caller, at least 1."""
        left = (self._open_until or 0.0) - self._clock()
        return _RETRY_AFTER if left == inf else max(left, 1.0)

    def start(self) -> int:
        """Start a call and return the epoch. Unless the breaker is closed, the call is the trial call."""
        self._trial = self._open_until is not None
        return self._epoch

    def succeeded(self, epoch: int) -> bool:
        """Record that the server responded to the call, even with an error. Return whether this closed the breaker."""
        if epoch != self._epoch:
            return False
        self._failures = 0
        self._server_errors.clear()
        self._last_success = self._clock()
        closes = self._open_until is not None
        if closes:
            self._open_until = None
            self._epoch += 1
        return closes

    def failed(self, epoch: int, *, silent: bool = False) -> None:
        """Record a failure that shows that the server is down. `silent`: the server did not respond."""
        if epoch == self._epoch:
            self._failures += 1
            self._open_at_limit(silent=silent)

    def server_error(self, epoch: int, image: bytes, schema: bytes) -> None:
        """Record an unexplained 500, which the request may have caused. `image`, `schema`: digests of the request's.

        Three 500s count as three failures in a row if images and schemas all differ. Fewer have no effect.
        """
        self.released(epoch)
        known = self._server_errors
        differs = all(image != other and schema != another for other, another in known)
        if epoch == self._epoch and self._limit and differs:
            known.append((image, schema))
            if len(known) >= _DISTINCT_ERRORS:
                self._open_at_limit(len(known))

    def released(self, epoch: int) -> None:
        """Record a call that showed nothing about the server, so that another call can be the trial call."""
        if epoch == self._epoch:
            self._trial = False

    def probe_failed(self, since: float) -> bool:
        """Open the breaker until a probe succeeds, unless a call succeeded after `since`. Return whether it opened."""
        if self._last_success >= since:
            return False
        self._open(inf, silent=True)
        return True

    def probe_succeeded(self) -> None:
        """Allow a trial call if the breaker opened because the server did not respond, not after errors."""
        if self.state == "open" and self._silent:
            self._open_until = self._clock()

    def _open_at_limit(self, server_errors: int = 0, *, silent: bool = False) -> None:
        """Open the breaker if the limit of failures in a row is reached, or if it is half-open."""
        if self._open_until is not None or 0 < self._limit <= self._failures + server_errors:
            self._open(self._clock() + self._open_seconds, silent=silent)

    def _open(self, until: float, *, silent: bool) -> None:
        self._open_until = until
        self._silent = silent
        self._trial = False
        self._server_errors.clear()
        self._epoch += 1
