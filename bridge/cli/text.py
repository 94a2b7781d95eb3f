"""Plain text for a person at a terminal: captions, columns, lines that fit."""

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

_ITEM_WIDTH = 100
_NARROW = 20
_NOTHING = "(none)"


def readable(result: dict[str, Any]) -> str:
    """A caption: a paragraph a field, lists item by item, fields under their names in the JSON."""
    return "\n".join(line for name, value in result.items() for line in _field(name, value))


def _field(name: str, value: Any) -> list[str]:
    """`name: value`, or what it holds below its name."""
    if not value or not isinstance(value, dict | list):
        return [f"{name}: {_plain(value)}"]
    if isinstance(value, dict):
        return [f"{name}:", *(f"  {line}" for one in value.items() for line in _field(*one))]
    return [f"{name}:", *(line for one in value for line in _item(one))]


def _item(value: Any) -> list[str]:
    """An item of a list: in one line where it fits, else a line a field."""
    if not isinstance(value, dict) or not value:
        return [f"  - {_inline(value)}"]
    if len(line := _inline(value)) <= _ITEM_WIDTH and not any(isinstance(one, dict | list) for one in value.values()):
        return [f"  - {line}"]
    first, *rest = (f"{name}: {_inline(one)}" for name, one in value.items())
    return [f"  - {first}", *(f"    {line}" for line in rest)]


def _inline(value: Any) -> str:
    """Any value in one line; what is nested in what is nested stands in brackets."""
    if isinstance(value, dict) and value:
        return ", ".join(f"{name}: {_bracketed(one)}" for name, one in value.items())
    if isinstance(value, list) and value:
        return ", ".join(map(_bracketed, value))
    return " ".join(_plain(value).split())


def _bracketed(value: Any) -> str:
    return f"({_inline(value)})" if value and isinstance(value, dict | list) else _inline(value)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else str(value or _NOTHING)


def columns(rows: Sequence[Sequence[str]], indent: str = "") -> Iterator[str]:
    """Rows as lines, each cell but the last as wide as its column's widest; in a terminal the last one is wrapped."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)][:-1]
    across = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for *cells, last in rows:
        begin = indent + "".join(f"{cell:{width}}  " for cell, width in zip(cells, widths, strict=True))
        room = across - len(begin)
        lines = textwrap.wrap(last, room) if room >= _NARROW else [last]
        yield f"\n{' ' * len(begin)}".join([begin + lines[0], *lines[1:]]).rstrip() if lines else begin.rstrip()
