"""Two workers against one, and each provider's protocol, by the CPU of a caption."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import cast

from benchmarks.captions import in_base64
from benchmarks.photos import SMALL
from benchmarks.report import Promise, Report, Table
from benchmarks.rounds import HEAD, Contender, in_turns, ratio
from benchmarks.running import MODEL, Running, bridge, standin

CONNECTIONS = 32
ROUNDS = 15


@dataclass(frozen=True)
class Pair:
    """Two services that know nothing of each other, loaded as one: what two processes cost on this machine anyway."""

    one: Running
    other: Running
    ports: Iterator[int]

    @property
    def port(self) -> int:
        """Each in turn."""
        return next(self.ports)

    def cpu(self) -> float:
        """Seconds of CPU of both."""
        return self.one.cpu() + self.other.cpu()

    def memory(self) -> float:
        """MB of both."""
        return self.one.memory() + self.other.memory()


def run() -> Report:
    """A 70 KB photo that passes, at 32 connections."""
    data = SMALL.read_bytes()
    asked = (in_base64(data),)
    with standin() as provider, bridge(provider) as one:
        with bridge(provider, GRAPHCAP_WORKERS="2") as two, bridge(provider) as other:
            pair = cast(Running, Pair(one, other, cycle((one.port, other.port))))
            sides = [("one worker", one), ("two workers", two), ("two services of one worker each", pair)]
            workers = in_turns([Contender(name, server, asked, CONNECTIONS) for name, server in sides], ROUNDS)
        protocols = in_turns(
            [
                Contender(f"one worker, {kind}", one, (in_base64(data, provider=kind, model=MODEL),), CONNECTIONS)
                for kind in ("openai", "ollama", "gemini")
            ]
        )
    rows = [(name, *figures.cells()) for name, figures in (workers | protocols).items()]
    share = ratio(workers["two workers"], workers["one worker"])
    promise = Promise("CPU of a caption of 70 KB with two workers, of one's", 1.1, share, "×")
    return Report("Workers and protocols", [Table(("what", *HEAD), tuple(rows))], [promise])
