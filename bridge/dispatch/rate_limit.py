"""The limits of one endpoint for one key.

There are three: pauses that the server's responses ask for, configured amounts per minute, and an adaptive limit of
concurrent calls.
"""

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
    """A configured amount per minute, None for unlimited."""

    def __init__(self, amount: int | None, limiter: type[RateLimiter]) -> None:
        self._amount = amount or 0
        self._item = RateLimitItemPerMinute(self._amount or 1)
        self._limiter = limiter(MemoryStorage()) if amount else None

    def wait(self, cost: int) -> float:
        """Return the seconds until `cost` fits, 0 if it fits now. A cost above the amount needs the whole amount."""
        if self._limiter is None or self._limiter.test(self._item, cost=min(cost, self._amount)):
            return 0.0
        return max(self._limiter.get_window_stats(self._item).reset_time - time.time(), _MIN_WAIT)

    def spend(self, cost: int) -> None:
        """Subtract `cost` from what remains, but never more than what remains."""
        if self._limiter is not None:
            fitting = min(cost, self._limiter.get_window_stats(self._item).remaining)
            if fitting > 0:
                self._limiter.hit(self._item, cost=fitting)


@dataclass(frozen=True, slots=True)
class StartedCall:
    """A call in flight. `at`: the clock when it started. `tokens`: how many were counted for it in advance."""

    at: float
    tokens: int


class KeyLimits:
    """Limits the calls that one endpoint gets with one key. `clock` returns seconds.

    The limit of concurrent calls varies between 1 and `max_concurrency` (None: unlimited). After as many successful
    calls as the limit, it is raised by 1. A 429 or an overload halves it, but not if the call started before the last
    decrease.
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
        """Return the seconds until a call is allowed by the server's hints and by the configured amounts per minute."""
        pause = self._paused_until - self._clock()
        return max(pause, self._requests.wait(1), self._tokens.wait(self._tokens_per_call or 1))

    def start(self) -> StartedCall:
        """Start a call. Count as many tokens in advance as the last finished call used."""
        self.in_flight += 1
        self._requests.spend(1)
        self._tokens.spend(self._tokens_per_call)
        return StartedCall(self._clock(), self._tokens_per_call)

    def end(self, call: StartedCall, result: Completion | ProviderError | None) -> None:
        """End a call, and apply the rate limits that its response announces. `result`: None if it was cancelled."""
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
        """Pause after a 429, and return the seconds until the pause ends.

        The length is the hint of the response, or an exponential backoff without a hint.
        """
        if call.at >= self._paused_until:  # if several calls were refused at once, only the first counts
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
    """Return the seconds until every used-up limit is reset, or None if no limit is used up."""
    used_up = [limit for limit in (hints.requests, hints.tokens) if limit and limit.remaining < 1] if hints else []
    return max((_DEFAULT_RESET if limit.reset is None else limit.reset for limit in used_up), default=None)
