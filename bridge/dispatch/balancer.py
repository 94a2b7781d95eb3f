"""Load balancing strategies: which of several endpoints gets the next call."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bridge.config import Strategy


@dataclass(frozen=True, slots=True)
class Candidate:
    """An endpoint that can take the call: its index in the provider's list, its weight, its calls in flight."""

    index: int
    weight: float
    in_flight: int


class Balancer(ABC):
    """Chooses endpoints, and keeps the state that its strategy needs."""

    @abstractmethod
    def choose(self, candidates: Sequence[Candidate]) -> int:
        """Return the index of one of `candidates`, which is not empty."""


class RoundRobin(Balancer):
    """Choose the endpoints in turn."""

    def __init__(self) -> None:
        self._last = -1

    def choose(self, candidates: Sequence[Candidate]) -> int:
        """Return the next index after the last one."""
        indexes = [candidate.index for candidate in candidates]
        self._last = min((index for index in indexes if index > self._last), default=min(indexes))
        return self._last


class Weighted(Balancer):
    """Choose in proportion to the weights, evenly interleaved (nginx's smooth weighted round-robin)."""

    def __init__(self) -> None:
        self._current: dict[int, float] = {}

    def choose(self, candidates: Sequence[Candidate]) -> int:
        """Raise each current weight by its weight, choose the largest and lower it by the sum of the weights."""
        for candidate in candidates:
            self._current[candidate.index] = self._current.get(candidate.index, 0.0) + candidate.weight
        chosen = max(candidates, key=lambda candidate: (self._current[candidate.index], -candidate.index)).index
        self._current[chosen] -= sum(candidate.weight for candidate in candidates)
        return chosen


class Random(Balancer):
    """Choose at random, in proportion to the weights."""

    def __init__(self, uniform: Callable[[], float] = random.random) -> None:
        """`uniform` returns a number in [0, 1)."""
        self._uniform = uniform

    def choose(self, candidates: Sequence[Candidate]) -> int:
        """Return the index whose share of the summed weights holds a random point."""
        point = self._uniform() * sum(candidate.weight for candidate in candidates)
        for candidate in candidates:
            point -= candidate.weight
            if point < 0:
                return candidate.index
        return candidates[-1].index


class LeastConnections(Balancer):
    """Choose the endpoint with the fewest calls in flight for its weight; equal ones in turn."""

    def __init__(self) -> None:
        self._turns = RoundRobin()

    def choose(self, candidates: Sequence[Candidate]) -> int:
        """Return the index of the endpoint whose load is lowest once it has the call."""
        loads = [(candidate.in_flight + 1) / candidate.weight for candidate in candidates]
        lowest = min(loads)
        return self._turns.choose([c for c, load in zip(candidates, loads, strict=True) if load == lowest])


def balancer(strategy: Strategy, uniform: Callable[[], float] = random.random) -> Balancer:
    """Return a new balancer for `strategy`."""
    match strategy:
        case "random":
            return Random(uniform)
        case "round_robin":
            return RoundRobin()
        case "weighted":
            return Weighted()
        case "least_connections":
            return LeastConnections()
