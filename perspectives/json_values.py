"""Copy plain JSON values within size limits."""

import json
import math
from collections.abc import Iterator
from typing import Any

from perspectives.errors import InvalidPerspective, Problem, below

JsonObject = dict[str, Any]
MAX_BYTES = 262_144  # of a perspective as compact JSON in UTF-8. The largest of the library has 10 kB
MAX_JSON_DEPTH = 200  # maximum levels of objects and lists in a perspective
_EXACT = 2.0**53


class NotJson(ValueError):
    """The value is not JSON. The message is a sentence."""


class _TooDeep(NotJson):
    def __init__(self, depth: int) -> None:
        super().__init__(f"Is nested more than {depth} levels deep.")


def copy_json(data: object) -> Any:
    """Copy a JSON value. Floats without a fraction become integers, as in JSON written by JavaScript.

    Raises InvalidPerspective if a value is too large or is not JSON.
    """
    try:
        text = to_json(data, MAX_JSON_DEPTH)
        if len(text) > MAX_BYTES:
            raise InvalidPerspective([Problem("", f"Is larger than {MAX_BYTES // 1024} KiB.")])
        return json.loads(text, parse_float=_number, parse_int=_number)
    except NotJson as error:
        place = "" if isinstance(error, _TooDeep) else _place_of_error(data)
        raise InvalidPerspective([Problem(place, str(error))]) from None


def to_json(value: object, depth: int) -> bytes:
    """Serialise a value as compact JSON. Raises NotJson, also if the value has more than `depth` levels."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise NotJson("Contains half of a surrogate pair, which is not a character.") from None
    except RecursionError:
        raise _TooDeep(depth) from None
    except (TypeError, ValueError):
        raise NotJson("Is not JSON, or contains NaN, infinity or a number that is too large.") from None
    if text.count(b"[") + text.count(b"{") > depth and _is_deep(value, depth):
        raise _TooDeep(depth)
    return text


def items(value: Any) -> Iterator[tuple[str | int, Any]]:
    """Yield the key or index and the value of each item of an object or a list."""
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list | tuple):
        yield from enumerate(value)


def _is_deep(value: Any, levels: int) -> bool:
    return levels < 0 or any(_is_deep(item, levels - 1) for _, item in items(value))


def _number(text: str) -> int | float:
    value = float(text)
    if not math.isfinite(value):
        raise NotJson("Is too large a number.")
    if text.lstrip("-").isdecimal():
        return int(text)
    return int(value) if value.is_integer() and abs(value) < _EXACT else value


def _place_of_error(value: Any, pointer: str = "") -> str:
    """Return the JSON Pointer of the first value that cannot be copied."""
    for token, item in items(value):
        try:
            json.loads(to_json({str(token): item}, MAX_JSON_DEPTH), parse_float=_number, parse_int=_number)
        except NotJson:
            return _place_of_error(item, below(pointer, str(token)))
    return pointer
