"""Load balancing strategies: the order in which endpoints are chosen."""

import pytest

from bridge.config.models import BreakerSettings, Strategy
from bridge.dispatch.balancer import Balancer
from bridge.dispatch.endpoint import Endpoint
from tests.dispatch.dispatching import Clock, endpoint


def endpoints(*weights: float) -> list[Endpoint]:
    return [Endpoint(endpoint("e", weight=weight), BreakerSettings(), Clock()) for weight in weights]


def choose(balancer: Balancer, weights: tuple[float, ...], times: int) -> list[int]:
    """Return the indexes of the endpoints chosen for calls that do not end."""
    listed, order = endpoints(*weights), []
    for _ in range(times):
        chosen = balancer.choose(listed)
        chosen.in_flight += 1
        order.append(listed.index(chosen))
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
def test_order_of_chosen_endpoints(strategy: Strategy, weights: tuple[float, ...], expected: list[int]) -> None:
    assert choose(Balancer(strategy), weights, len(expected)) == expected
