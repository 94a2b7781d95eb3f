"""Asking a provider again when the line failed, and keeping count: at most four calls a perspective."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from bridge.deadline import Deadline
from bridge.dispatch.slots import Slots
from bridge.network import AddressRefused
from providers.base import Completion, VisionRequest
from providers.errors import ProviderError, RateLimited, ServerFailed, Unavailable, Unreachable
from providers.usage import Usage

MAX_CALLS = 4
_RETRIES = 2
_FIRST_WAIT = 0.25
_RETRIED = (Unreachable, RateLimited, Unavailable, ServerFailed)


Again = Callable[[str], Awaitable[None]]
"""Told, with the reason, that a call is made again."""


async def _unwatched(reason: str) -> None:
    """Nobody wants to know."""


async def _nobody_waits() -> None:
    """Nobody wants to know that a call has to wait."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call that was made. `error` is None when it was answered; `ms` is its wall time."""

    provider: str
    model: str
    output_mode: str
    error: ProviderError | None
    ms: float


@dataclass
class Calls:
    """The calls made for one perspective: how many are left, what they cost, what the providers remarked."""

    limit: int = MAX_CALLS
    made: list[Call] = field(default_factory=list)
    usage: Usage | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def left(self) -> int:
        """How many more calls are allowed."""
        return self.limit - len(self.made)

    def spend(self, usage: Usage | None) -> None:
        """Add what a call cost; one that was answered and told nothing makes the sum unknown."""
        if usage is not None:
            self.usage = usage if self.usage is None else self.usage + usage

    def warn(self, warnings: tuple[str, ...]) -> None:
        """Keep each remark once."""
        self.warnings += [one for one in warnings if one not in self.warnings]


@dataclass(frozen=True)
class Line:
    """The line to one target: retries what a repeat may cure, within the deadline and the calls left.

    `reserve` is how many calls must stay for later targets. `timeout` bounds one call in seconds; 0: what is left.
    `again` is told before each repeat, `queued` when a call waits for one of `slots`.
    """

    provider: str
    complete: Callable[[VisionRequest], Awaitable[Completion]]
    calls: Calls
    deadline: Deadline
    timeout: float = 0
    reserve: int = 0
    again: Again = _unwatched
    slots: Slots | None = None
    queued: Callable[[], Awaitable[None]] = _nobody_waits

    async def ask(self, request: VisionRequest) -> Completion:
        """Ask until answered. Raises the last ProviderError, or DeadlineExceeded."""
        for retry in range(_RETRIES + 1):
            try:
                return await self._once(request)
            except _RETRIED as error:
                wait = _wait(error, retry)
                # A refused address stays refused, and another look-up would be another try at rebinding.
                refused = isinstance(error.__cause__, AddressRefused)
                if refused or retry == _RETRIES or self.calls.left <= self.reserve or wait >= self.deadline.left():
                    raise
                await self.again(error.message)
                await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    async def _once(self, request: VisionRequest) -> Completion:
        if self.slots is None:
            return await self._call(request)
        async with self.slots.slot(self.deadline, self.queued):
            return await self._call(request)

    async def _call(self, request: VisionRequest) -> Completion:
        left = self.deadline.require("waiting for the model")
        start = time.perf_counter()
        error: ProviderError | None = None
        try:
            completion = await self.complete(replace(request, timeout=min(left, self.timeout or left)))
        except ProviderError as failed:
            error = failed
            self.calls.spend(failed.usage)
            raise
        finally:
            ms = (time.perf_counter() - start) * 1000
            self.calls.made.append(Call(self.provider, request.model, request.output_mode, error, ms))
        self.calls.spend(completion.usage or Usage())
        self.calls.warn(completion.warnings)
        return completion


def _wait(error: ProviderError, retry: int) -> float:
    """Seconds until the next try: what the server asked for, else doubling with jitter."""
    if error.retry_after is not None:
        return error.retry_after
    return _FIRST_WAIT * float(2**retry) * random.uniform(0.8, 1.2)  # noqa: S311 (jitter, not a secret)
