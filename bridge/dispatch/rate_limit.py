"""The limits of one endpoint for one key: pauses that responses demand, amounts per minute, concurrent calls."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, RateLimiter

from providers.base import Completion
from providers.errors import ProviderError, RateLimited, Unavailable
from providers.hints import RateHints

_MAX_PAUSE = 3600.0
_MAX_BACKOFF = 60.0
_DEFAULT_RESET = 1.0
_MIN_WAIT = 0.05


class MinuteWindow:
    """A configured amount of requests or tokens per minute (None: unlimited)."""

    def __init__(self, amount: int | None, limiter: type[RateLimiter]) -> None:
        self._amount = amount or 0
        self._item = RateLimitItemPerMinute(self._amount or 1)
        self._limiter = limiter(MemoryStorage()) if amount else None

    def wait(self, cost: int) -> float:
        """Return the seconds until `cost` may be spent. A larger cost than the amount waits for the full amount."""
        if self._limiter is None or self._limiter.test(self._item, cost=min(cost, self._amount)):
            return 0.0
        return max(self._limiter.get_window_stats(self._item).reset_time - time.time(), _MIN_WAIT)

    def spend(self, cost: int) -> None:
        """Subtract `cost` from the remaining amount, down to 0."""
        if self._limiter is not None:
            fitting = min(cost, self._limiter.get_window_stats(self._item).remaining)
            if fitting > 0:
                self._limiter.hit(self._item, cost=fitting)


@dataclass(frozen=True, slots=True)
class StartedCall:
    """A call in flight. `at`: when it started. `tokens`: how many were counted in advance."""

    at: float
    tokens: int


class KeyLimits:
    """Limits the calls that one endpoint gets with one key. `clock` returns seconds.

    The limit of concurrent calls varies between 1 and `max_concurrency` (None: unlimited). It rises by 1 after as many
    successful calls as its value. A 429 or an overload halves it, unless the call started before the last decrease.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        max_concurrency: int | None = None,
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
    ) -> None:
        self.max_concurrency = self.concurrency = inf if max_concurrency is None else max_concurrency
        self.in_flight = 0
        self._clock = clock
        self._requests = MinuteWindow(requests_per_minute, MovingWindowRateLimiter)
        self._tokens = MinuteWindow(tokens_per_minute, FixedWindowRateLimiter)
        self._tokens_per_call = 0
        self._successes = 0
        self._lowered_at = self._paused_until = -inf
        self._refusals = 0

    @property
    def wait(self) -> float:
        """Return the seconds until the server's hints and the configured amounts allow a call."""
        pause = self._paused_until - self._clock()
        return max(pause, self._requests.wait(1), self._tokens.wait(self._tokens_per_call or 1))

    def start(self) -> StartedCall:
        """Start a call. In advance, count as many tokens as the last finished call used."""
        self.in_flight += 1
        self._requests.spend(1)
        self._tokens.spend(self._tokens_per_call)
        return StartedCall(self._clock(), self._tokens_per_call)

    def end(self, call: StartedCall, result: Completion | ProviderError | None) -> None:
        """End a call, and apply the rate limits in its response. `result`: None if the call was cancelled."""
        self.in_flight -= 1
        if result is None:
            return
        self._adapt(call, result)
        usage = result.usage
        tokens = (usage.input_tokens or 0) + (usage.output_tokens or 0) if usage else 0
        if tokens:
            self._tokens.spend(tokens - call.tokens)
            self._tokens_per_call = tokens
        if isinstance(result, RateLimited):
            result.retry_after = self._refused(call, result)
        else:
            self._refusals = 0
            self._pause(_announced(result.rate))

    def _adapt(self, call: StartedCall, result: Completion | ProviderError) -> None:
        overload = isinstance(result, RateLimited) or (isinstance(result, Unavailable) and result.status != 408)
        if overload and call.at > self._lowered_at:
            self.concurrency = max(min(self.concurrency, self.in_flight + 1) // 2, 1)
            self._successes = 0
            self._lowered_at = self._clock()
        elif isinstance(result, Completion) and self.concurrency < self.max_concurrency:
            self._successes += 1
            if self._successes >= self.concurrency:
                self.concurrency += 1
                self._successes = 0

    def _refused(self, call: StartedCall, error: RateLimited) -> float:
        """Pause for the hint of the 429, or for an exponential backoff. Return the seconds until the pause ends."""
        if call.at >= self._paused_until:  # if concurrent calls were refused, only the first counts
            self._refusals += 1
        hint = error.retry_after if error.retry_after is not None else _announced(error.rate)
        if hint is None:
            jitter = random.uniform(0.8, 1.2)  # noqa: S311 (not a secret)
            hint = min(2.0 ** (self._refusals - 1), _MAX_BACKOFF) * jitter
        self._pause(hint)
        return max(self._paused_until - self._clock(), 0.001)

    def _pause(self, seconds: float | None) -> None:
        if seconds is not None:
            self._paused_until = max(self._paused_until, self._clock() + min(seconds, _MAX_PAUSE))


def _announced(hints: RateHints | None) -> float | None:
    """Return the seconds until all exhausted limits are reset, or None if no limit is exhausted."""
    used_up = [limit for limit in (hints.requests, hints.tokens) if limit and limit.remaining < 1] if hints else []
    return max((_DEFAULT_RESET if limit.reset is None else limit.reset for limit in used_up), default=None)
