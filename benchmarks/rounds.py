"""Load several servers in turns, so that other load on the machine affects all of them alike."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.load import Load, Request, load
from benchmarks.report import percentile
from benchmarks.running import Running

ROUNDS = 3
SECONDS = 1.0
MAX_REQUESTS = 2000
_WARM_SECONDS = 0.5


@dataclass(frozen=True)
class Contender:
    """A server, the requests that it receives in turn, and the number of concurrent connections."""

    name: str
    server: Running
    requests: tuple[Request, ...]
    connections: int


@dataclass
class Figures:
    """The figures of all rounds. `costs`: CPU milliseconds per request, one per round. `memory`: MB at the end."""

    costs: list[float] = field(default_factory=list)
    load: Load = field(default_factory=lambda: Load([], 0.0))
    memory: float = 0.0

    @property
    def cpu_ms(self) -> float:
        """Return the CPU milliseconds per request: the median of the rounds."""
        return median(self.costs)

    def cells(self) -> tuple[str, ...]:
        """Return CPU, requests per second, p50, p99 and memory."""
        latencies = (f"{percentile(self.load.latencies, percent) * 1000:.1f}" for percent in (50, 99))
        return f"{self.cpu_ms:.2f}", f"{self.load.rate:.0f}", *latencies, f"{self.memory:.0f}"


def ratio(ours: Figures, theirs: Figures) -> float:
    """Return our CPU divided by theirs: the median of the ratios of each round."""
    return median(own / reference for own, reference in zip(ours.costs, theirs.costs, strict=True))


HEAD = ("CPU ms/caption", "requests/s", "p50 ms", "p99 ms", "RSS MB")


def in_turns(contenders: Sequence[Contender], rounds: int = ROUNDS) -> dict[str, Figures]:
    """Load each contender once per round, in random order, and return the figures by name."""
    return asyncio.run(_in_turns(contenders, rounds))


async def _in_turns(contenders: Sequence[Contender], rounds: int) -> dict[str, Figures]:
    figures = {contender.name: Figures() for contender in contenders}
    for contender in contenders:
        await _load(contender, min(contender.connections, 8), _WARM_SECONDS, 4 * len(contender.requests))
    shuffled = random.Random(0)
    for _ in range(rounds):
        for contender in shuffled.sample(contenders, len(contenders)):
            await _round(contender, figures[contender.name])
    return figures


async def _round(contender: Contender, figures: Figures) -> None:
    before = contender.server.cpu()
    result = await _load(contender, contender.connections, SECONDS, MAX_REQUESTS)
    figures.costs.append((contender.server.cpu() - before) * 1000 / len(result.latencies))
    figures.load += result
    figures.memory = contender.server.memory()


async def _load(contender: Contender, connections: int, seconds: float, max_requests: int) -> Load:
    first, *others = contender.requests
    return await load(contender.server, first, connections, seconds, max_requests, others)
