"""Which of several endpoints gets the next call."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bridge.config import Strategy


@dataclass(frozen=True, slots=True)
class Candidate:
    """An endpoint that may be chosen: its place in the list of all, its weight, the calls it has."""

    place: int
    weight: float
    in_flight: int


class Chooser(ABC):
    """Chooses, and remembers what fairness needs."""

    @abstractmethod
    def choose(self, among: Sequence[Candidate]) -> int:
        """The place of one of `among`, which is not empty."""


class RoundRobin(Chooser):
    """Each in turn."""

    def __init__(self) -> None:
        self._last = -1

    def choose(self, among: Sequence[Candidate]) -> int:
        """The next after the one that was chosen last."""
        self._last = min((one.place for one in among if one.place > self._last), default=min(o.place for o in among))
        return self._last


class Weighted(Chooser):
    """As often as the weights say, evenly mixed: who was passed over longest for its weight is next."""

    def __init__(self) -> None:
        self._due: dict[int, float] = {}

    def choose(self, among: Sequence[Candidate]) -> int:
        """Everybody's claim grows by its weight; the largest claim is paid with all that was handed out."""
        for one in among:
            self._due[one.place] = self._due.get(one.place, 0.0) + one.weight
        chosen = max(among, key=lambda one: (self._due[one.place], -one.place)).place
        self._due[chosen] -= sum(one.weight for one in among)
        return chosen


class Random(Chooser):
    """Any; `uniform` gives a number from 0 to below 1."""

    def __init__(self, uniform: Callable[[], float] = random.random) -> None:
        self._uniform = uniform

    def choose(self, among: Sequence[Candidate]) -> int:
        """Any of them, heavier ones more often."""
        point = self._uniform() * sum(one.weight for one in among)
        for one in among:
            point -= one.weight
            if point < 0:
                return one.place
        return among[-1].place


class LeastConnections(Chooser):
    """The one with the fewest calls for its weight; among equals, each in turn."""

    def __init__(self) -> None:
        self._turn = RoundRobin()

    def choose(self, among: Sequence[Candidate]) -> int:
        """The least loaded once it has the call."""
        loads = [(one.in_flight + 1) / one.weight for one in among]
        least = min(loads)
        return self._turn.choose([one for one, load in zip(among, loads, strict=True) if load == least])


def chooser(strategy: Strategy, uniform: Callable[[], float] = random.random) -> Chooser:
    """A fresh one of this strategy."""
    match strategy:
        case "random":
            return Random(uniform)
        case "round_robin":
            return RoundRobin()
        case "weighted":
            return Weighted()
        case "least_connections":
            return LeastConnections()
