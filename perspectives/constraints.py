"""The value of each keyword: what may stand there, and which keywords contradict each other."""

import math
from collections.abc import Callable
from typing import Any

from perspectives import patterns
from perspectives.errors import Problem, below
from perspectives.formats import FORMATS
from perspectives.keywords import TYPES
from perspectives.plain import JsonObject

_MAX_COUNT = 2**31 - 1
Check = Callable[[Any], str | None]


def type_of(value: object) -> str:
    """The JSON Schema type of a plain value; whole floats are integers."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return "integer"
    names: dict[type, str] = {str: "string", float: "number", list: "array", dict: "object"}
    return names.get(type(value), "unknown")


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) else "Must be text."


def _flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "Must be true or false."


def _count(value: Any) -> str | None:
    fine = type_of(value) == "integer" and 0 <= value <= _MAX_COUNT
    return None if fine else "Must be a whole number, 0 or more."


def _number(value: Any) -> str | None:
    fine = type_of(value) in {"integer", "number"} and math.isfinite(value)
    return None if fine else "Must be a number."


def _divisor(value: Any) -> str | None:
    return _number(value) or (None if value > 0 else "Must be more than 0.")


def _list(value: Any) -> str | None:
    return None if isinstance(value, list) else "Must be a list."


def _names(value: Any) -> str | None:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return "Must be a list of property names."
    return None if len(set(value)) == len(value) else "Names a property twice."


def _scalar(value: Any) -> str | None:
    return "Must be text, a number, true, false or null." if isinstance(value, dict | list) else None


def _choices(value: Any) -> str | None:
    if not isinstance(value, list) or not value:
        return "Must be a list of at least one value."
    if any(isinstance(choice, dict | list) for choice in value):
        return "Values must be texts, numbers, true, false or null."
    return None if len({identity(choice) for choice in value}) == len(value) else "Holds a value twice."


def _format(value: Any) -> str | None:
    return None if isinstance(value, str) and value in FORMATS else f"Must be one of {', '.join(FORMATS)}."


def _type(value: Any) -> str | None:
    words = value if isinstance(value, list) else [value]
    if not words or any(not isinstance(word, str) or word not in TYPES for word in words):
        return f"Must be one of {', '.join(TYPES)}."
    if isinstance(value, list) and (len(value) > 2 or len(set(value)) < len(value)):
        return 'A list of types holds one type and "null"; write anyOf for more.'
    return 'A list of types holds one type and "null"; write anyOf for more.' if _two_types(value) else None


def _two_types(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and "null" not in value


CHECKS: dict[str, Check] = {
    "type": _type,
    "title": _text,
    "description": _text,
    "examples": _list,
    "deprecated": _flag,
    "enum": _choices,
    "const": _scalar,
    "required": _names,
    "minItems": _count,
    "maxItems": _count,
    "uniqueItems": _flag,
    "minLength": _count,
    "maxLength": _count,
    "pattern": patterns.complaint,
    "format": _format,
    "minimum": _number,
    "maximum": _number,
    "exclusiveMinimum": _number,
    "exclusiveMaximum": _number,
    "multipleOf": _divisor,
}


def identity(value: Any) -> tuple[str, Any]:
    """What makes a scalar the same as another: 1 and 1.0 are, 1 and true are not."""
    kind = type_of(value)
    return ("number" if kind == "integer" else kind, value)


def contradictions(node: JsonObject, types: tuple[str, ...], pointer: str) -> list[Problem]:
    """Keywords, each valid alone, that leave no answer or mean nothing together."""
    return [*_crossed(node, pointer), *_foreign_values(node, types, pointer)]


def _crossed(node: JsonObject, pointer: str) -> list[Problem]:
    pairs = (
        ("minLength", "maxLength", False),
        ("minItems", "maxItems", False),
        ("minimum", "maximum", False),
        ("minimum", "exclusiveMaximum", True),
        ("exclusiveMinimum", "maximum", True),
        ("exclusiveMinimum", "exclusiveMaximum", True),
    )
    return [
        Problem(below(pointer, high), f"No value is left between {low} and {high}.")
        for low, high, strict in pairs
        if low in node and high in node and (node[low] > node[high] or (strict and node[low] == node[high]))
    ]


def _foreign_values(node: JsonObject, types: tuple[str, ...], pointer: str) -> list[Problem]:
    """Values of enum and const that the stated type does not have: such an answer could never be given."""
    if not types:
        return []
    taken = {*types, *(("integer",) if "number" in types else ())}
    places = [(below(pointer, "enum", index), value) for index, value in enumerate(node.get("enum", []))]
    if "const" in node:
        places.append((below(pointer, "const"), node["const"]))
    return [
        Problem(place, f"Is not of type {' or '.join(types)}.")
        for place, value in places
        if type_of(value) not in taken
    ]
