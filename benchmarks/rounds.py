"""Servers under the same load in turns, so that what else the machine does falls on all of them alike."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.load import Load, Request, load
from benchmarks.running import Running

ROUNDS = 3
SECONDS = 1.0
AT_MOST = 2000
_WARM_SECONDS = 0.5


@dataclass(frozen=True)
class Contender:
    """A server, what it is asked (in turn where there are several), and on how many connections at once."""

    name: str
    server: Running
    requests: tuple[Request, ...]
    connections: int


@dataclass
class Figures:
    """What came of all rounds. `costs`: CPU milliseconds a request of each round; `memory` in MB at the end."""

    costs: list[float] = field(default_factory=list)
    load: Load = field(default_factory=lambda: Load([], 0.0))
    memory: float = 0.0

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds of the server a request: the median of the rounds."""
        return median(self.costs)

    def cells(self) -> tuple[str, ...]:
        """CPU, requests a second, p50, p99, memory."""
        latencies = (f"{self.load.percentile(percent):.1f}" for percent in (50, 99))
        return f"{self.cpu_ms:.2f}", f"{self.load.rate:.0f}", *latencies, f"{self.memory:.0f}"


def ratio(ours: Figures, theirs: Figures) -> float:
    """The CPU of one of the other's: the median over the rounds, since both went through each together."""
    return median(one / other for one, other in zip(ours.costs, theirs.costs, strict=True))


HEAD = ("CPU ms/caption", "requests/s", "p50 ms", "p99 ms", "RSS MB")


def in_turns(contenders: Sequence[Contender], rounds: int = ROUNDS) -> dict[str, Figures]:
    """Load each in every round; by name."""
    return asyncio.run(_in_turns(contenders, rounds))


async def _in_turns(contenders: Sequence[Contender], rounds: int) -> dict[str, Figures]:
    found = {one.name: Figures() for one in contenders}
    for one in contenders:
        await _asked(one, min(one.connections, 8), _WARM_SECONDS, 4 * len(one.requests))
    shuffled = random.Random(0)
    for _ in range(rounds):
        for one in shuffled.sample(contenders, len(contenders)):
            await _round(one, found[one.name])
    return found


async def _round(one: Contender, figures: Figures) -> None:
    before = one.server.cpu()
    done = await _asked(one, one.connections, SECONDS, AT_MOST)
    figures.costs.append((one.server.cpu() - before) * 1000 / len(done.latencies))
    figures.load += done
    figures.memory = one.server.memory()


async def _asked(one: Contender, connections: int, seconds: float, at_most: int) -> Load:
    first, *others = one.requests
    return await load(one.server, first, connections, seconds, at_most, others)
