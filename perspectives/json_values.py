"""Copy plain JSON values within size limits, and compute their digests."""

import json
import math
from hashlib import sha256
from typing import Any

from perspectives.errors import InvalidPerspective, Problem, below

JsonObject = dict[str, Any]
MAX_BYTES = 262_144
"""Maximum bytes of a perspective as compact JSON in UTF-8. The largest perspective of the library has 10 kB."""
MAX_JSON_DEPTH = 200
"""Maximum levels of objects and lists in a perspective."""
_EXACT = 2.0**53


def copy_json(data: object) -> Any:
    """Copy a JSON value. Floats without a fraction become integers, as in JSON written by JavaScript.

    Raises InvalidPerspective if a value is too large or is not JSON.
    """
    return _Copy().of(data, "", 0)


def digest(content: Any) -> str:
    """Return the hexadecimal SHA-256 of a JSON value. It depends on the order of keys, which models follow."""
    return sha256(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


class _Copy:
    def __init__(self) -> None:
        self._bytes = 0

    def of(self, value: object, pointer: str, depth: int) -> Any:
        if depth > MAX_JSON_DEPTH:
            raise _invalid("", f"Is nested more than {MAX_JSON_DEPTH} levels deep.")
        self._count(2)
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
        raise _invalid(pointer, f"Is a Python {type(value).__name__}, which JSON does not have.")

    def _key(self, key: object, pointer: str) -> str:
        if not isinstance(key, str):
            raise _invalid(pointer, "Has a key that is not text.")
        return self._text(key, pointer)

    def _text(self, text: str, pointer: str) -> str:
        try:
            self._count(len(text.encode()))
        except UnicodeEncodeError:
            raise _invalid(pointer, "Contains half of a surrogate pair, which is not a character.") from None
        return str(text)

    def _count(self, size: int) -> None:
        self._bytes += size
        if self._bytes > MAX_BYTES:
            raise _invalid("", f"Is larger than {MAX_BYTES // 1024} KiB.")


def _number(value: int | float, pointer: str) -> int | float:
    if isinstance(value, int):
        if value.bit_length() > 1024:
            raise _invalid(pointer, "Is too large a number.")
        return value
    if not math.isfinite(value):
        raise _invalid(pointer, "Is not a finite number.")
    return int(value) if value.is_integer() and abs(value) < _EXACT else value


def _invalid(pointer: str, message: str) -> InvalidPerspective:
    return InvalidPerspective([Problem(pointer, message)])
