"""What checking one answer may cost: schema times answer, and a stranger may have written both."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from perspectives.leaves import misfit
from perspectives.limits import MAX_TRIES

FIELDS_A_STEP = 32
"""Places of an alternative that cost as much as one value of the answer (measured with pydantic 2.14)."""

VALUES_A_TRY = 4
"""Values that cost as much as one more try."""

_LETTERS = 100  # characters that cost as much as one value
_LEFT: ContextVar[list[int] | None] = ContextVar("left", default=None)
"""How many tries are left to the answer that is being checked."""


@contextmanager
def one_answer() -> Iterator[None]:
    """Count all that is checked in here as one answer: MAX_TRIES holds for the whole of it."""
    if _LEFT.get() is not None:
        yield
        return
    before = _LEFT.set([MAX_TRIES])
    try:
        yield
    finally:
        _LEFT.reset(before)


def spend(tries: int) -> None:
    """Take that many from what is left. Raises a complaint when that was too much."""
    left = _LEFT.get()
    if left is None:
        return
    left[0] -= tries
    if left[0] < 0:
        raise misfit("Holds more than can be checked against this schema; write less.")


def spent() -> bool:
    """Whether nothing is left."""
    left = _LEFT.get()
    return left is not None and left[0] < 0


def values_in(value: Any) -> int:
    """How many values each alternative has to look at, long texts counted as several; at most what is affordable."""
    if isinstance(value, str):
        return len(value) // _LETTERS
    found = 0
    waiting: list[Any] = [value] if isinstance(value, dict | list) else []
    while waiting and found < VALUES_A_TRY * MAX_TRIES:
        inner = waiting.pop()
        found += 1
        if isinstance(inner, dict | list):
            waiting += inner.values() if isinstance(inner, dict) else inner
        elif isinstance(inner, str):
            found += len(inner) // _LETTERS
    return found
