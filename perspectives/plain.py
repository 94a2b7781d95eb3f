"""Plain JSON values: what a perspective is made of, whoever built it."""

import math
from typing import Any

from perspectives.errors import InvalidPerspective, Problem, below
from perspectives.limits import MAX_BYTES, MAX_JSON_DEPTH, MAX_VALUES

JsonObject = dict[str, Any]
_EXACT = 2.0**53


def plain(data: object, pointer: str = "") -> Any:
    """A copy of `data` that is certainly JSON and within the limits; whole floats become integers.

    That is what a JavaScript client does to them, and a perspective must come back from one unchanged.
    Raises InvalidPerspective at the first thing that is too large or not JSON.
    """
    return _Copy().of(data, pointer, 0)


class _Copy:
    def __init__(self) -> None:
        self._values = 0
        self._bytes = 0

    def of(self, value: object, pointer: str, depth: int) -> Any:
        self._count(pointer, depth)
        if isinstance(value, str):
            return self._text(value, pointer)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            return _number(value, pointer)
        if isinstance(value, dict):
            return {
                self._key(key, pointer): self.of(item, below(pointer, str(key)), depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.of(item, below(pointer, index), depth + 1) for index, item in enumerate(value)]
        raise _refused(pointer, f"Is a Python {type(value).__name__}, which JSON does not have.")

    def _count(self, pointer: str, depth: int) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise _refused("", f"Holds more than {MAX_VALUES:,} values.")
        if depth > MAX_JSON_DEPTH:
            raise _refused("", f"Is nested more than {MAX_JSON_DEPTH} levels deep.")

    def _key(self, key: object, pointer: str) -> str:
        if not isinstance(key, str):
            raise _refused(pointer, "Has a key that is not text.")
        return self._text(key, pointer)

    def _text(self, text: str, pointer: str) -> str:
        try:
            self._bytes += len(text.encode())
        except UnicodeEncodeError:
            raise _refused(pointer, "Holds half of a surrogate pair, which is not a character.") from None
        if self._bytes > MAX_BYTES:
            raise _refused("", f"Is larger than {MAX_BYTES // 1024} KiB.")
        return str(text)


def _number(value: int | float, pointer: str) -> int | float:
    if isinstance(value, int):
        if value.bit_length() > 1024:
            raise _refused(pointer, "Is too large a number.")
        return value
    if not math.isfinite(value):
        raise _refused(pointer, "Is not a finite number.")
    return int(value) if value.is_integer() and abs(value) < _EXACT else value


def _refused(pointer: str, message: str) -> InvalidPerspective:
    return InvalidPerspective([Problem(pointer, message)])
