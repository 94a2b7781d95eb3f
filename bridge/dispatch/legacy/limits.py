"""How many requests and tokens an endpoint takes: what its server says first, then what is configured.

Pure: every method is told the time. Nothing here waits.
"""

from collections import deque
from dataclasses import dataclass, field
from math import inf

from providers.hints import Allowance, RateHints

_MINUTE = 60.0
_HOUR = 3600.0  # after which a server is asked again, whatever it said
_MARGIN = 0.02  # a server that rounds its seconds down would be asked too early
_UNTOLD = 1.0  # until a limit is whole again whose server does not say when
_APART = 0.1  # between calls while no limit is known: a 429 comes faster than that, and stops the next
_STEP = 1.0  # the same while no answer comes either: answers of vision models are slower than a 429
_ROUNDED = 1.0  # seconds without a fraction are up to a second less, or more, than the server means
_BELIEVED = 10  # windows that a limit found out by a 429 is believed: there may be more room by then
_LONGEST = 60.0  # between two tries at a server that says 429 and not for how long
_FADING = 0.9  # of the dearest call that is remembered, with each that is cheaper


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

    left: float = inf
    limit: float | None = None
    whole_at: float = inf
    window: float = _UNTOLD
    exact: bool = True

    def hear(self, now: float, told: Allowance, under_way: float) -> None:
        """Calls that are under way may not be in what it says: they are taken off."""
        self.left = told.remaining - under_way
        self.limit = told.limit if told.limit is not None else self.limit
        reset = _UNTOLD if told.reset is None else min(told.reset, _HOUR)
        self.exact = not _is_round(reset)
        self.whole_at = now + reset + _MARGIN
        self.window = max(self.window, reset)

    def renew(self, now: float, under_way: float, need: float) -> bool:
        """Begin again once it is whole. True when that leaves it unknown whether there is as much as `need`."""
        if now < self.whole_at:
            return False
        if self.limit is None:
            self.left, self.whole_at = inf, inf
            return True
        used_up = self.left < need
        self.left, self.whole_at = self.limit - under_way, now + self.window
        return used_up and not self.exact

    def wait(self, now: float, need: float) -> float:
        """Seconds until `need` is left."""
        if self.left >= (need if self.limit is None else min(need, self.limit)):
            return 0.0
        return max(self.whole_at - now, 0.0)


def _is_round(seconds: float) -> bool:
    """Whether it was told in whole seconds, and so to the second at best."""
    return seconds == int(seconds)


CROWD = 32  # answers without a word of limits, after which an account has none


@dataclass
class Found:
    """What a 429 gives away that tells only when to come back: as many calls as were taken until then fit a window."""

    limit: float = inf
    _window: float = 0.0
    _until: float = -inf
    _since: float = inf  # where the window began: the first call that was taken after the last one's end
    _closed: bool = False  # whether a 429 has ended the window
    _whole: bool = False  # whether its begin was seen: of another, much may have been used before
    _begun: deque[float] = field(default_factory=deque)  # within the last minutes; not those that were refused

    def wait(self, now: float) -> float:
        """Seconds until one more fits."""
        while self._begun and self._begun[0] <= now - 2 * _MINUTE:
            self._begun.popleft()
        if len(self._begun) < self.limit:
            return 0.0
        return max(self._begun[-int(self.limit)] + self._window + _MARGIN - now, 0.0)

    def renew(self, now: float) -> bool:
        """Believe it no longer. True when that leaves it unknown how much there is."""
        old = self.limit < inf and now >= self._until
        if old:
            self.limit = inf
        return old

    def begin(self, now: float) -> None:
        """A call leaves."""
        self._begun.append(now)
        self._since = min(self._since, now)

    def taken(self, at: float, paused_until: float) -> None:
        """The call that left then was taken."""
        if self._closed and at >= paused_until:
            self._since, self._closed, self._whole = at, False, True

    def refused(self, at: float, now: float, pause: float) -> None:
        """The call that left then was not, and the window ends after `pause`. One longer than a minute is not known."""
        if at in self._begun:
            self._begun.remove(at)
        self._closed = True
        since = max(self._since, now + pause - _MINUTE - _ROUNDED)
        taken = sum(one >= since for one in self._begun)
        if taken:
            self.limit, self._window = taken, now + pause - since
            seen = self._whole and since == self._since
            self._until = now + pause + (_BELIEVED if seen else 1) * self._window


@dataclass(slots=True)
class Sent:
    """One call that is under way: its number, when it left, what it was taken to cost, where that was noted."""

    number: int
    at: float
    tokens: float
    noted: list[float] | None


class Rate:
    """The limits of one endpoint, for the key that it was configured with.

    A server tells its limits with its first answer. `learns`: until then, and after each 429, one call goes alone: a
    crowd would run into the limit together. While no limit is told each answer, and each second without a call, lets
    one more go, never two at once, and after CROWD answers there is none. Where tokens are configured, one goes alone
    until it is known what a call costs.
    """

    def __init__(self, requests: int | None = None, tokens: int | None = None, *, learns: bool = False) -> None:
        """`requests`, `tokens`: configured, a minute."""
        self._requests = Sliding(requests) if requests else None
        self._tokens = Sliding(tokens) if tokens else None
        self._told_requests, self._told_tokens = Told(), Told()
        self._learns = learns
        self._found = Found()
        self._known = self._heard = False
        self._crowd = 1
        self._left = -inf
        self._paused_until = -inf
        self._refused = 0
        self._under_way = 0
        self._number = self._newest = 0
        self._cost = 0.0

    @property
    def learning(self) -> bool:
        """Whether calls wait for what the first answer tells, and not for a limit."""
        return self._learns and not self._known and self._under_way > 0

    def wait(self, now: float) -> float:
        """Seconds until the next call may leave, as far as is known; 0 for now; no end while an answer decides."""
        limited = self.limited(now)
        if self._tokens and not self._cost and self._under_way:
            return inf
        if self.learning:
            apart = _APART if self._under_way < self._crowd else _STEP
        elif self._told_tokens.left < CROWD * max(self._cost, 1.0):
            apart = _APART  # near the limit, and nobody knows what a call will cost
        else:
            return limited
        return max(limited, max(self._left, self._paused_until) + apart - now)

    def limited(self, now: float) -> float:
        """The same by the limits alone: an answer that is waited for may come any moment."""
        need = max(self._cost, 1.0)
        lost = (
            self._told_requests.renew(now, self._under_way, 1),
            self._told_tokens.renew(now, self._under_way * need, need),
        )
        if any(lost) | self._found.renew(now):
            self._forget()
        waits = (
            self._paused_until - now,
            self._told_requests.wait(now, 1),
            self._told_tokens.wait(now, need),
            self._requests.wait(now, 1) if self._requests else 0.0,
            self._tokens.wait(now, need) if self._tokens else 0.0,
            self._found.wait(now),
        )
        return max(0.0, *waits)

    def begin(self, now: float) -> Sent:
        """A call leaves."""
        self._under_way += 1
        self._left = now
        self._number += 1
        self._told_requests.left -= 1
        self._told_tokens.left -= max(self._cost, 1.0)
        if self._requests:
            self._requests.spend(now, 1)
        if self._learns:
            self._found.begin(now)
        return Sent(self._number, now, self._cost, self._tokens.spend(now, self._cost) if self._tokens else None)

    def end(self, sent: Sent, now: float, hints: RateHints | None, tokens: int | None) -> None:
        """A call was answered or failed; `tokens` is what it cost, where that is known."""
        self._under_way -= 1
        if tokens:
            self._cost = max(tokens, _FADING * self._cost)
            if sent.noted is not None and self._tokens:
                self._tokens.mend(sent.noted, tokens)
        if hints and sent.number > self._newest:  # an older call tells of an earlier state
            self._heard = True
            self._newest = sent.number
            if hints.requests:
                self._found.limit = inf
                self._told_requests.hear(now, hints.requests, self._under_way)
            if hints.tokens:
                self._told_tokens.hear(now, hints.tokens, self._under_way * max(self._cost, 1.0))

    def taken(self, sent: Sent, now: float) -> None:
        """The server took a call: whatever limits it tells of are known now."""
        self._refused = 0
        self._found.taken(sent.at, self._paused_until)
        self._crowd += 1
        self._known = self._known or self._heard or self._found.limit < inf or self._crowd > CROWD

    def refused(self, sent: Sent, now: float, retry_after: float | None, hints: RateHints | None) -> None:
        """A 429: nothing leaves until the server said, or longer each time when it did not."""
        said = (hints.requests, hints.tokens) if hints else ()
        empty = [one.reset for one in said if one and one.reset is not None and one.remaining < 1]
        # Of a crowd that is refused together the first counts: the others left before anybody could know.
        if sent.at >= self._paused_until - _MARGIN:
            self._refused += 1
        unsaid = min(2.0 ** (self._refused - 1), _LONGEST)
        pause = retry_after if retry_after is not None else max(empty, default=unsaid)
        if retry_after is not None and _is_round(retry_after):
            pause += _ROUNDED
        pause = min(pause, _HOUR)
        self._paused_until = max(self._paused_until, now + pause + _MARGIN)
        if self._learns and not hints and retry_after is not None:
            self._found.refused(sent.at, now, pause)
        self._forget()

    def _forget(self) -> None:
        """Begin with one call alone again."""
        self._known = self._heard = False
        self._crowd = 1
