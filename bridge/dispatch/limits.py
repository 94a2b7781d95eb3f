"""How many requests and tokens an endpoint takes: what its server says first, then what is configured.

Pure: every method is told the time. Nothing here waits.
"""

from collections import deque
from dataclasses import dataclass, field

from providers.hints import Allowance, RateHints

_MINUTE = 60.0
_MARGIN = 0.02  # a server that rounds its seconds down would be asked too early
_UNTOLD = 1.0  # until a limit is whole again whose server does not say when
_ALONE = 3.0  # how long the others wait for the first answer, which tells the limits
_LONGEST = 60.0  # between two tries at a server that says 429 and not for how long


@dataclass
class Sliding:
    """So much within any minute, wherever the server's own minute begins."""

    limit: float
    _spent: deque[list[float]] = field(default_factory=deque)
    _sum: float = 0

    def wait(self, now: float, need: float) -> float:
        """Seconds until `need` fits."""
        while self._spent and self._spent[0][0] <= now - _MINUTE:
            self._sum -= self._spent.popleft()[1]
        over = self._sum + min(need, self.limit) - self.limit
        for at, amount in self._spent:
            if over <= 0:
                break
            over -= amount
            if over <= 0:
                return at + _MINUTE - now + _MARGIN
        return 0.0

    def spend(self, now: float, amount: float) -> list[float]:
        """Note it; what is returned may be mended."""
        entry = [now, amount]
        self._spent.append(entry)
        self._sum += amount
        return entry

    def mend(self, entry: list[float], amount: float) -> None:
        """What it really was."""
        if self._spent and entry[0] >= self._spent[0][0]:
            self._sum += amount - entry[1]
        entry[1] = amount


@dataclass
class Told:
    """What the server last said is left of a limit, less what has left for it since."""

    left: float = float("inf")
    limit: float | None = None
    whole_at: float = float("inf")
    window: float = _UNTOLD

    def hear(self, now: float, told: Allowance, under_way: float) -> None:
        """Calls that are under way may not be in what it says: they are taken off."""
        self.left = told.remaining - under_way
        self.limit = told.limit if told.limit is not None else self.limit
        reset = _UNTOLD if told.reset is None else told.reset
        self.whole_at = now + reset + _MARGIN
        self.window = max(self.window, reset)

    def renew(self, now: float, under_way: float) -> bool:
        """Begin again once it is whole. True when that leaves it unknown how much there is."""
        if now < self.whole_at:
            return False
        if self.limit is None:
            self.left, self.whole_at = float("inf"), float("inf")
            return True
        self.left, self.whole_at = self.limit - under_way, now + self.window
        return False

    def wait(self, now: float, need: float) -> float:
        """Seconds until `need` is left."""
        if self.left >= (need if self.limit is None else min(need, self.limit)):
            return 0.0
        return max(self.whole_at - now, 0.0)


@dataclass(slots=True)
class Sent:
    """One call that is under way: its number, what it was taken to cost, where that was noted."""

    number: int
    tokens: float
    noted: list[float] | None


class Rate:
    """The limits of one endpoint, for the key that it was configured with.

    A server tells its limits with its first answer. `learns`: until then, and after each 429, one call goes alone and
    the others wait for it, three seconds at most: a crowd would run into the limit together.
    """

    def __init__(self, requests: int | None = None, tokens: int | None = None, *, learns: bool = False) -> None:
        """`requests`, `tokens`: configured, a minute."""
        self._requests = Sliding(requests) if requests else None
        self._tokens = Sliding(tokens) if tokens else None
        self._told_requests, self._told_tokens = Told(), Told()
        self._learns = learns
        self._known = False
        self._alone_until = float("-inf")
        self._paused_until = float("-inf")
        self._refused = 0
        self._under_way = 0
        self._number = self._newest = 0
        self._cost = 0.0

    def wait(self, now: float) -> float:
        """Seconds until the next call may leave, as far as is known; 0 for now."""
        limited = self.limited(now)
        if self._learns and not self._known and self._under_way:
            return max(limited, self._alone_until - now)
        return limited

    def limited(self, now: float) -> float:
        """The same by the limits alone: an answer that is waited for may come any moment."""
        need = max(self._cost, 1.0)
        if self._told_requests.renew(now, self._under_way) | self._told_tokens.renew(now, self._under_way * need):
            self._known = False
        waits = (
            self._paused_until - now,
            self._told_requests.wait(now, 1),
            self._told_tokens.wait(now, need),
            self._requests.wait(now, 1) if self._requests else 0.0,
            self._tokens.wait(now, need) if self._tokens else 0.0,
        )
        return max(0.0, *waits)

    def begin(self, now: float) -> Sent:
        """A call leaves."""
        if not self._under_way:
            self._alone_until = now + _ALONE
        self._under_way += 1
        self._number += 1
        self._told_requests.left -= 1
        self._told_tokens.left -= max(self._cost, 1.0)
        if self._requests:
            self._requests.spend(now, 1)
        return Sent(self._number, self._cost, self._tokens.spend(now, self._cost) if self._tokens else None)

    def end(self, sent: Sent, now: float, hints: RateHints | None, tokens: int | None) -> None:
        """A call was answered or failed; `tokens` is what it cost, where that is known."""
        self._under_way -= 1
        if tokens:
            self._cost = tokens if not self._cost else 0.8 * self._cost + 0.2 * tokens
            if sent.noted is not None and self._tokens:
                self._tokens.mend(sent.noted, tokens)
        if hints and sent.number > self._newest:  # an older call tells of an earlier state
            self._newest = sent.number
            if hints.requests:
                self._told_requests.hear(now, hints.requests, self._under_way)
            if hints.tokens:
                self._told_tokens.hear(now, hints.tokens, self._under_way * max(self._cost, 1.0))

    def taken(self) -> None:
        """The server took a call: whatever limits it tells of are known now."""
        self._known = True
        self._refused = 0

    def refused(self, now: float, retry_after: float | None, hints: RateHints | None) -> None:
        """A 429: nothing leaves until the server said, or longer each time when it did not."""
        said = (hints.requests, hints.tokens) if hints else ()
        empty = [one.reset for one in said if one and one.reset is not None and one.remaining < 1]
        pause = retry_after if retry_after is not None else max(empty, default=min(2.0**self._refused, _LONGEST))
        self._paused_until = max(self._paused_until, now + pause + _MARGIN)
        self._refused += 1
        self._known = False
