"""Load balancing strategies: how calls are spread over endpoints."""

from collections import Counter
from itertools import cycle

import pytest

from bridge.config import Strategy
from bridge.dispatch.balancer import Candidate, balancer


@pytest.mark.parametrize(
    ("strategy", "weights", "expected"),
    [
        ("round_robin", (1, 1, 1), [0, 1, 2, 0, 1, 2]),
        ("least_connections", (1, 1), [0, 1, 0, 1]),
        ("least_connections", (1, 2), [1, 0, 1, 1, 0, 1]),
        ("weighted", (2, 1), [0, 1, 0, 0, 1, 0]),
        ("weighted", (1, 1), [0, 1, 0, 1]),
    ],
)
def test_order_of_choices(strategy: Strategy, weights: tuple[float, ...], expected: list[int]) -> None:
    chosen = balancer(strategy)
    in_flight: Counter[int] = Counter()
    order = []
    for _ in expected:
        candidates = [Candidate(index, weight, in_flight[index]) for index, weight in enumerate(weights)]
        order.append(chosen.choose(candidates))
        in_flight[order[-1]] += 1
    assert order == expected


def test_random_choices_follow_the_weights() -> None:
    points = cycle([0.0, 0.2, 0.3, 0.99])
    chosen = balancer("random", lambda: next(points))
    candidates = [Candidate(0, 1, 0), Candidate(1, 3, 0)]
    assert [chosen.choose(candidates) for _ in range(4)] == [0, 0, 1, 1]


def test_round_robin_skips_unavailable_endpoints() -> None:
    chosen = balancer("round_robin")
    assert chosen.choose([Candidate(0, 1, 0), Candidate(2, 1, 0)]) == 0
    assert chosen.choose([Candidate(1, 1, 0), Candidate(2, 1, 0)]) == 1
    assert chosen.choose([Candidate(0, 1, 0), Candidate(1, 1, 0)]) == 0
