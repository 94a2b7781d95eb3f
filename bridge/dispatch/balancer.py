"""Load balancing: choose the endpoint that gets the next call."""

import random
from collections.abc import Sequence
from itertools import count

from bridge.config.models import Strategy
from bridge.dispatch.endpoint import Endpoint


class Balancer:
    """Chooses endpoints by one strategy, and stores the strategy's state."""

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self._turns = count(1)
        self._last_turn: dict[Endpoint, int] = {}
        self._credit: dict[Endpoint, float] = {}

    def choose(self, candidates: Sequence[Endpoint]) -> Endpoint:
        """Return one of `candidates`, which must not be empty."""
        match self._strategy:
            case "random":
                weights = [candidate.weight for candidate in candidates]
                return random.choices(candidates, weights)[0]  # noqa: S311 (spreads load, not a secret)
            case "weighted":
                return self._smooth(candidates)
            case "round_robin":
                chosen = min(candidates, key=self._turn)
            case "least_connections":
                chosen = min(candidates, key=lambda c: ((c.in_flight + 1) / c.weight, self._turn(c)))
        self._last_turn[chosen] = next(self._turns)
        return chosen

    def _turn(self, candidate: Endpoint) -> int:
        """Return the number of the turn in which the endpoint was last chosen, 0 if it has not been chosen."""
        return self._last_turn.get(candidate, 0)

    def _smooth(self, candidates: Sequence[Endpoint]) -> Endpoint:
        """Choose by weight with nginx's smooth weighted round-robin, which interleaves the endpoints evenly."""
        for candidate in candidates:
            self._credit[candidate] = self._credit.get(candidate, 0.0) + candidate.weight
        chosen = max(candidates, key=lambda candidate: self._credit[candidate])
        self._credit[chosen] -= sum(candidate.weight for candidate in candidates)
        return chosen
