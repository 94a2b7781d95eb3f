"""Load balancing strategies: how calls are spread over endpoints."""

import random
from collections import Counter

import pytest

from bridge.config import Strategy
from bridge.dispatch.balancer import Balancer


class Server:
    """An endpoint whose calls do not end."""

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.in_flight = 0


def choose(balancer: Balancer, servers: list[Server], times: int) -> list[int]:
    order = []
    for _ in range(times):
        chosen = balancer.choose(servers)
        chosen.in_flight += 1
        order.append(servers.index(chosen))
    return order


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
    assert choose(Balancer(strategy), [Server(weight) for weight in weights], len(expected)) == expected


def test_random_choices_follow_the_weights() -> None:
    chosen = Counter(choose(Balancer("random", random.Random(1)), [Server(1), Server(3)], 1000))
    assert 200 < chosen[0] < 300


def test_round_robin_skips_unavailable_endpoints() -> None:
    first, second, third = servers = [Server(1), Server(1), Server(1)]
    balancer = Balancer("round_robin")
    assert [balancer.choose(some) for some in ([first, third], [second, third], servers)] == [first, second, third]
