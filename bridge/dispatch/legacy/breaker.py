"""Whether an endpoint is worth asking: after some failures in a row it is left alone, then tried with one call."""

from collections.abc import Callable
from math import inf
from typing import Literal

State = Literal["closed", "open", "half_open"]
OPEN: State = "open"


class Breaker:
    """The breaker of one endpoint. What calls tell counts, and what the probe tells."""

    def __init__(self, failures: int, open_seconds: float, clock: Callable[[], float]) -> None:
        """Opens after `failures` in a row, for `open_seconds` of `clock`. 0 failures: never."""
        self._limit = failures
        self._open_seconds = open_seconds
        self._clock = clock
        self._failed = 0
        self._open_until = float("-inf")
        self._opened = False
        self._held = False
        self._seen_by_probes = False
        self._trial: int | None = None
        self._turn = 0
        self._answered_at = float("-inf")

    @property
    def state(self) -> State:
        """Closed: calls go through. Open: none. Half-open: one, and how it ends decides."""
        if not self._opened:
            return "closed"
        return "half_open" if not self._held and self._clock() >= self._open_until else OPEN

    def admits(self) -> bool:
        """Whether a call may begin now."""
        return not self._opened or (self._trial is None and self.state == "half_open")

    def wait(self) -> float:
        """Seconds until time alone lets a call begin; no end while a call or a probe decides."""
        if not self._opened:
            return 0.0
        return inf if self._held or self._trial is not None else max(self._open_until - self._clock(), 0.0)

    def next_trial(self) -> float:
        """Seconds after which to ask again: a second at least, for a call or a probe may be deciding."""
        return max(self._open_until - self._clock(), 1.0)

    def begin(self) -> int:
        """A call begins; give what this returns back when it ends."""
        if self._opened:
            self._trial = self._turn
        return self._turn

    def answered(self, turn: int) -> None:
        """The server answered the call, whatever it said. A call from before the breaker opened says nothing."""
        if turn == self._turn:
            self._failed = 0
            self._answered_at = self._clock()
            if self._opened:
                self._close()

    def failed(self, turn: int, *, silent: bool = False) -> None:
        """The call met no server, no answer in time (`silent`: a probe would have met the same), or a broken server."""
        if turn != self._turn or not self._limit:
            return
        self._failed += 1
        if self._opened or self._failed >= self._limit:
            self._open(self._open_seconds, held=False)
            self._seen_by_probes = silent

    def left(self, turn: int) -> None:
        """The call ended without telling anything: another may be the trial."""
        if turn == self._turn:
            self._trial = None

    def probe_failed(self, since: float, interval: float) -> bool:
        """A probe found the endpoint dead: no call until one finds it alive. False when that is not believed.

        `since`: when it was sent; a call that was answered since then knows better. `interval`: until the next one.
        """
        if self._answered_at >= since:
            return False
        self._open(interval, held=True)
        return True

    def probe_answered(self) -> None:
        """A probe found the endpoint alive: a call may try, unless it is calls alone that fail there."""
        if self.state == OPEN and (self._held or self._seen_by_probes):
            self._held = False
            self._open_until = self._clock()

    def _open(self, seconds: float, *, held: bool) -> None:
        self._opened = True
        self._held = held
        self._open_until = self._clock() + seconds
        self._trial = None
        self._turn += 1

    def _close(self) -> None:
        self._opened = self._held = False
        self._trial = None
        self._failed = 0
        self._turn += 1
