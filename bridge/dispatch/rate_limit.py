"""The rate limits of one endpoint for one key: pauses by the server's hints, configured windows, concurrency."""

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from bridge.dispatch.concurrency import AdaptiveConcurrency
from providers.base import Completion
from providers.errors import ProviderError, RateLimited, Unavailable
from providers.hints import RateHints

_MAX_PAUSE = 3600.0
_MAX_BACKOFF = 60.0
_DEFAULT_RESET = 1.0
_MAX_UNITS = 1000
_MIN_WAIT = 0.05


@dataclass(frozen=True, slots=True)
class StartedCall:
    """A call in flight: when it started, and its epoch of the concurrency limit."""

    at: float
    epoch: int


class MinuteWindow:
    """A configured number of requests or tokens per minute, counted by the `limits` library.

    Its moving window is exact, and stores every unit: large amounts are counted in at most 1,000 units.
    """

    def __init__(self, amount: int) -> None:
        self.amount = amount
        self._unit = math.ceil(amount / _MAX_UNITS)
        self._item = RateLimitItemPerMinute(amount // self._unit)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def wait(self, cost: int) -> float:
        """Return the seconds after which `cost` may fit, 0 when it fits now."""
        if self._limiter.test(self._item, cost=min(math.ceil(cost / self._unit), self._item.amount)):
            return 0.0
        return max(self._limiter.get_window_stats(self._item).reset_time - time.time(), _MIN_WAIT)

    def spend(self, cost: int) -> None:
        """Count `cost`, or as much of it as fits."""
        units = min(math.ceil(cost / self._unit), self._limiter.get_window_stats(self._item).remaining)
        if units > 0:
            self._limiter.hit(self._item, cost=units)


class KeyLimits:
    """What one endpoint accepts from one key. The clock is in seconds."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        max_concurrency: int | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        """`uniform` returns a number in [0, 1), for the jitter of the backoff."""
        self.concurrency = AdaptiveConcurrency(max_concurrency)
        self._clock = clock
        self._uniform = uniform
        self._requests = MinuteWindow(requests_per_minute) if requests_per_minute else None
        self._tokens = MinuteWindow(tokens_per_minute) if tokens_per_minute else None
        self._tokens_per_call = 0
        self._paused_until = -inf
        self._refusals = 0

    @property
    def pause(self) -> float:
        """Return the seconds until the server accepts calls again, as far as its hints say."""
        return max(self._paused_until - self._clock(), 0.0)

    @property
    def wait(self) -> float:
        """Return the seconds until a call may start because time passes, 0 for now; inf while a call decides."""
        waits = [self.pause]
        if self._requests:
            waits.append(self._requests.wait(1))
        if self._tokens:
            waits.append(self._wait_for_tokens(self._tokens))
        return max(waits)

    @property
    def known_wait(self) -> float:
        """Return the same, but the pause alone while a call in flight decides."""
        wait = self.wait
        return self.pause if wait == inf else wait

    def _wait_for_tokens(self, window: MinuteWindow) -> float:
        """Assume that each call in flight, and the next one, costs as much as the last one that ended."""
        in_flight = self.concurrency.in_flight
        need = min(self._tokens_per_call or 1, window.amount) * (in_flight + 1)
        if in_flight and (need > window.amount or not self._tokens_per_call):
            return inf
        return window.wait(need)

    def start(self) -> StartedCall:
        """Start a call."""
        if self._requests:
            self._requests.spend(1)
        return StartedCall(self._clock(), self.concurrency.start())

    def end(self, call: StartedCall, result: Completion | ProviderError | None) -> None:
        """End a call and obey what the response says of limits. None: the call was cancelled."""
        limited = isinstance(result, RateLimited)
        overload = limited or (isinstance(result, Unavailable) and result.status != 408)
        self.concurrency.end(call.epoch, success=isinstance(result, Completion), overload=overload)
        if result is None:
            return
        usage = result.usage
        tokens = (usage.input_tokens or 0) + (usage.output_tokens or 0) if usage else 0
        if self._tokens and tokens:
            self._tokens_per_call = tokens
            self._tokens.spend(tokens)
        if isinstance(result, RateLimited):
            result.retry_after = self._refused(call, result)
        else:
            self._refusals = 0
            self._pause(_announced(result.rate))

    def _refused(self, call: StartedCall, error: RateLimited) -> float:
        """Pause for the hint of the 429, else for an exponential backoff. Return the seconds."""
        if call.at >= self._paused_until:  # of calls that were refused together the first counts
            self._refusals += 1
        hint = error.retry_after if error.retry_after is not None else _announced(error.rate)
        if hint is None:
            hint = min(2.0 ** (self._refusals - 1), _MAX_BACKOFF) * (0.8 + 0.4 * self._uniform())
        self._pause(hint)
        return max(self.pause, 0.001)

    def _pause(self, seconds: float | None) -> None:
        if seconds is not None:
            self._paused_until = max(self._paused_until, self._clock() + min(seconds, _MAX_PAUSE))


def _announced(hints: RateHints | None) -> float | None:
    """Return the seconds until limits with zero remaining are reset; None when nothing is used up."""
    allowances = (hints.requests, hints.tokens) if hints else ()
    resets = [
        _DEFAULT_RESET if allowance.reset is None else allowance.reset
        for allowance in allowances
        if allowance and allowance.remaining < 1
    ]
    return max(resets, default=None)
