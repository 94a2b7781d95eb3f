"""What a single value of an answer must be: the checks that pydantic calls while it walks an answer.

Lenient where a weak model plausibly errs and only one value can be meant: `"0.8"` for a number, `1.0` or `"3"`
for an integer, `"True"` for a boolean. Nothing else is converted: no text from numbers, no number from a
boolean, no list from a single value, no enum value from a similar one. Exact: the value as JSON Schema has it.
"""

import json
import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from pydantic_core import PydanticCustomError, PydanticOmit, SchemaValidator

from perspectives.constraints import identity
from perspectives.formats import Format
from perspectives.patterns import matches
from perspectives.plain import JsonObject

Leaf = Callable[[Any], Any]
DEPTH = 100
"""Levels of a value about which the schema says nothing."""
_WRITTEN_NUMBER = re.compile(r"\s*[-+]?\d{1,40}(\.\d{1,40})?([eE][-+]?\d{1,3})?\s*", re.ASCII)


def misfit(sentence: str) -> PydanticCustomError:
    """A complaint in our own words. (As context, because the template would read braces as placeholders.)"""
    return PydanticCustomError("misfit", "{sentence}", {"sentence": sentence})


def kind(value: object) -> str:
    """What to call a value that stands where another kind is needed."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    names: dict[type, str] = {str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), "something else")


def number(node: JsonObject, *, whole: bool, lenient: bool) -> Leaf:
    """A finite number within the node's bounds; `whole`: an integer."""
    needed = "a whole number" if whole else "a number"

    def check(value: Any) -> int | float:
        found = _from_text(value, needed) if lenient and isinstance(value, str) else value
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise misfit(f"Must be {needed}, not {kind(value)}.")
        if isinstance(found, float) and not math.isfinite(found):
            raise misfit(f"Must be {needed}; NaN and infinity are not taken.")
        if whole and isinstance(found, float):
            if not found.is_integer():
                raise misfit("Must be a whole number, without a fraction.")
            found = int(found)
        _in_bounds(found, node)
        return found

    return check


def _from_text(text: str, needed: str) -> int | float:
    if not _WRITTEN_NUMBER.fullmatch(text):
        raise misfit(f"Must be {needed}, not text.")
    try:
        return int(text)
    except ValueError:
        return float(text)


def _in_bounds(value: int | float, node: JsonObject) -> None:
    if "minimum" in node and value < node["minimum"]:
        raise misfit(f"Must be at least {node['minimum']}.")
    if "maximum" in node and value > node["maximum"]:
        raise misfit(f"Must be at most {node['maximum']}.")
    if "exclusiveMinimum" in node and value <= node["exclusiveMinimum"]:
        raise misfit(f"Must be more than {node['exclusiveMinimum']}.")
    if "exclusiveMaximum" in node and value >= node["exclusiveMaximum"]:
        raise misfit(f"Must be less than {node['exclusiveMaximum']}.")
    if "multipleOf" in node and (_decimal(value) / _decimal(node["multipleOf"])).denominator != 1:
        raise misfit(f"Must be a multiple of {node['multipleOf']}.")


def _decimal(value: int | float) -> Fraction:
    """The number as it is written: 0.1 is a tenth and not the double nearest to it."""
    return Fraction(value) if isinstance(value, int) else Fraction(repr(value))


def boolean(*, lenient: bool) -> Leaf:
    """True or false."""
    words = {"true": True, "false": False} if lenient else {}

    def check(value: Any) -> bool:
        found = words.get(value.strip().lower()) if isinstance(value, str) else value
        if not isinstance(found, bool):
            raise misfit(f"Must be true or false, not {kind(value)}.")
        return found

    return check


def one_of(values: list[Any]) -> Leaf:
    """One of these scalars; gives the schema's own writing of it (1 for 1.0)."""
    known = {identity(value): value for value in values}
    listed = ", ".join(json.dumps(value, ensure_ascii=False) for value in values[:20])
    more = f" (or {len(values) - 20} others)" if len(values) > 20 else ""

    def check(value: Any) -> Any:
        key = None if isinstance(value, dict | list) else identity(value)
        if key not in known:
            raise misfit(f"Must be one of {listed}{more}.")
        return known[key]

    return check


def matching(pattern: str, matcher: SchemaValidator) -> Leaf:
    """Text in which the pattern is found."""

    def check(value: str) -> str:
        if not matches(matcher, value):
            raise misfit(f"Must match the pattern {pattern}")
        return value

    return check


def formatted(name: str, form: Format) -> Leaf:
    """Text of that format."""

    def check(value: str) -> str:
        if not form.holds(value):
            raise misfit(f"Must be {form.meaning}, as the format {name} asks.")
        return value

    return check


def distinct(items: list[Any]) -> list[Any]:
    """No item twice; by hash of its canonical JSON (comparing 20,000 objects pairwise stalls for minutes)."""
    seen: set[str] = set()
    for index, item in enumerate(items):
        key = json.dumps(_comparable(item), sort_keys=True)
        if key in seen:
            raise misfit(f"Must hold no item twice; item {index + 1} repeats an earlier one.")
        seen.add(key)
    return items


def _comparable(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_comparable(item) for item in value]
    return {key: _comparable(item) for key, item in value.items()} if isinstance(value, dict) else value


def anything(value: Any) -> Any:
    """Any JSON value: finite numbers, whole characters, not nested too deeply."""
    open_values = [(value, 0)]
    while open_values:
        found, depth = open_values.pop()
        if depth > DEPTH:
            raise misfit(f"Must not be nested more than {DEPTH} levels deep.")
        if isinstance(found, dict):
            open_values += [(item, depth + 1) for pair in found.items() for item in pair]
        elif isinstance(found, list):
            open_values += [(item, depth + 1) for item in found]
        else:
            _json_scalar(found)
    return value


def _json_scalar(value: Any) -> None:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise misfit("Must not hold half of a surrogate pair.") from None
    elif isinstance(value, float) and not math.isfinite(value):
        raise misfit("Must not hold NaN or infinity.")
    elif value is not None and not isinstance(value, bool | int | float):
        raise misfit("Must be a JSON value.")


def characters(value: str) -> str:
    """Text that can be written as UTF-8: JSON's \\ud800 alone is not a character, and Python's reader takes it."""
    if not value.isascii():
        _json_scalar(value)
    return value


def named(value: JsonObject) -> JsonObject:
    """An object whose names can be written as UTF-8."""
    for name in value:
        characters(name)
    return value


def null_is_absent(value: Any) -> Any:
    """Leave out an optional property that is null: strict dialects turn optional into nullable and required."""
    if value is None:
        raise PydanticOmit
    return value
