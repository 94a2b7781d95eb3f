"""Compare the CPU of a caption: two workers with one, and the protocols of the providers."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import cast

from benchmarks.load import in_base64
from benchmarks.photos import SMALL
from benchmarks.report import Report, Table, Target
from benchmarks.rounds import HEAD, Contender, in_turns, ratio
from benchmarks.running import MODEL, Running, bridge, stub

CONNECTIONS = 32
ROUNDS = 15


@dataclass(frozen=True)
class Pair:
    """Two independent services, loaded as one: the cost of two processes on this machine."""

    first: Running
    second: Running
    ports: Iterator[int]

    @property
    def port(self) -> int:
        """Return the port of each service in turn."""
        return next(self.ports)

    def cpu(self) -> float:
        """Return the CPU seconds of both."""
        return self.first.cpu() + self.second.cpu()

    def memory(self) -> float:
        """Return the memory of both in MB."""
        return self.first.memory() + self.second.memory()


def run() -> Report:
    """Caption a 70 KB photo that is passed on, over 32 connections."""
    data = SMALL.read_bytes()
    requests = (in_base64(data),)
    with stub() as provider, bridge(provider) as first:
        with bridge(provider, GRAPHCAP_WORKERS="2") as two, bridge(provider) as second:
            pair = cast(Running, Pair(first, second, cycle((first.port, second.port))))
            sides = [("one worker", first), ("two workers", two), ("two services of one worker each", pair)]
            workers = in_turns([Contender(name, server, requests, CONNECTIONS) for name, server in sides], ROUNDS)
        protocols = in_turns(
            [
                Contender(f"one worker, {kind}", first, (in_base64(data, provider=kind, model=MODEL),), CONNECTIONS)
                for kind in ("openai", "ollama", "gemini")
            ]
        )
    rows = [(name, *figures.cells()) for name, figures in (workers | protocols).items()]
    share = ratio(workers["two workers"], workers["one worker"])
    target = Target("CPU of a caption of 70 KB with two workers, relative to one", 1.05, share, "×")
    return Report("Workers and protocols", [Table(("what", *HEAD), tuple(rows))], [target])
