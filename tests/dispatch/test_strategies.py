"""Who gets the next call, by each strategy."""

from collections import Counter
from itertools import cycle

from bridge.dispatch.legacy.strategies import Candidate, Random, chooser

THREE = [Candidate(0, 1, 0), Candidate(1, 1, 0), Candidate(2, 1, 0)]


def test_each_in_turn() -> None:
    turns = chooser("round_robin")
    assert [turns.choose(THREE) for _ in range(5)] == [0, 1, 2, 0, 1]
    assert turns.choose([THREE[0], THREE[1]]) == 0  # the next in turn is not there
    assert turns.choose(THREE) == 1


def test_the_fewest_calls_for_its_weight() -> None:
    least = chooser("least_connections")
    assert least.choose([Candidate(0, 1, 3), Candidate(1, 1, 1), Candidate(2, 1, 2)]) == 1
    assert least.choose([Candidate(0, 4, 3), Candidate(1, 1, 1)]) == 0
    assert least.choose([Candidate(0, 1, 0), Candidate(1, 3, 0)]) == 1
    idle = chooser("least_connections")
    assert [idle.choose(THREE) for _ in range(4)] == [0, 1, 2, 0]


def test_weights_are_kept_and_mixed() -> None:
    weighted = chooser("weighted")
    chosen = [weighted.choose([Candidate(0, 5, 0), Candidate(1, 1, 0), Candidate(2, 1, 0)]) for _ in range(70)]
    assert Counter(chosen) == {0: 50, 1: 10, 2: 10}
    assert set(chosen[:7]) == {0, 1, 2}


def test_any_by_chance() -> None:
    numbers = cycle([0.0, 0.5, 0.99])
    some = Random(lambda: next(numbers))
    assert [some.choose(THREE) for _ in range(3)] == [0, 1, 2]
    heavy = Random(lambda: 0.7)
    assert heavy.choose([Candidate(0, 3, 0), Candidate(1, 1, 0)]) == 0
