"""Other values that a schema allows: what a list of distinct items is filled up with."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from providers.errors import RequestRejected
from providers.writing import numbers, strings

Schema = dict[str, Any]
Write = Callable[[Schema], Any]


def variants(value: Any, schema: Schema, count: int, write: Write) -> Iterator[Any]:
    """Values of the same schema as `value`, at least `count` where it allows so many; some may repeat.

    `write` gives a value of any schema; it may raise RequestRejected.
    """
    if "anyOf" in schema:
        for branch in schema["anyOf"]:
            with suppress(RequestRejected):
                own = write(branch)
                yield own
                yield from variants(own, branch, count, write)
    elif "enum" in schema:
        yield from (choice for choice in schema["enum"] if fits(choice, schema))
    elif "const" in schema:
        yield schema["const"]
    else:
        types = schema.get("type", "string")
        if types == "null" or "null" in types:
            yield None
        yield from _of_type(value, [types] if isinstance(types, str) else types, schema, count, write)


def fits(choice: Any, schema: Schema) -> bool:
    """Whether the rules beside an `enum` allow one of its values."""
    if isinstance(choice, str):
        return strings.holds(choice, schema)
    return isinstance(choice, bool) or choice is None or numbers.holds(choice, schema)


def distinct(values: Sequence[Any]) -> list[Any]:
    """Each value once, in order; 1 and 1.0 are the same, and lists and objects are compared whole."""
    return list({key(value): value for value in reversed(values)}.values())[::-1]


def key(value: Any) -> str:
    """The same text for the same JSON value."""
    return json.dumps(_comparable(value), sort_keys=True)


def _of_type(value: Any, types: Sequence[str], schema: Schema, count: int, write: Write) -> Iterator[Any]:
    if "boolean" in types:
        yield from (True, False)
    elif "integer" in types or "number" in types:
        start = value if isinstance(value, int | float) else numbers.middle(schema)
        yield from numbers.nearby(start, schema, whole="integer" in types, count=count + 1)
    elif "string" in types and "format" not in schema:
        text = value if isinstance(value, str) else ""
        found = (strings.variant(text, number, schema) for number in range(2, count + 3))
        yield from (one for one in found if one is not None)
    elif "array" in types and isinstance(value, list) and value:
        inner = schema.get("items") or {"type": "string"}
        others = ([one, *value[1:]] for one in variants(value[0], inner, count, write))
        yield from (one for one in others if not schema.get("uniqueItems") or len(distinct(one)) == len(one))
    elif "object" in types and isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                yield from ({**value, name: one} for one in variants(value[name], inner, count, write))


def _comparable(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_comparable(item) for item in value]
    return {name: _comparable(item) for name, item in value.items()} if isinstance(value, dict) else value
