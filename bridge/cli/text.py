"""Plain text for terminals: captions and columns."""

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

_ITEM_WIDTH = 100
_MIN_WRAP_WIDTH = 20
_EMPTY = "(none)"
_STYLES = {"bold": 1, "red": 31, "green": 32, "yellow": 33}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def paint(text: str, style: str, stream: TextIO | None = None) -> str:
    """Return the text in a style, if the stream (default: standard output) is a terminal and NO_COLOR is unset."""
    stream = stream or sys.stdout
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def printable(text: str) -> str:
    """Return the text without control characters, which a model could use to control the terminal."""
    return _CONTROL.sub("", text)


def readable(result: dict[str, Any]) -> str:
    """Return a caption as text: one line per field, lists item by item, under the names of the JSON."""
    return "\n".join(line for name, value in result.items() for line in _field(paint(printable(name), "bold"), value))


def _field(name: str, value: Any) -> list[str]:
    if not value or not isinstance(value, dict | list):
        return [f"{name}: {_scalar(value)}"]
    if isinstance(value, dict):
        return [f"{name}:", *(f"  {line}" for field in value.items() for line in _field(*field))]
    return [f"{name}:", *(line for item in value for line in _item(item))]


def _item(value: Any) -> list[str]:
    """Return an item of a list: one line if it fits, otherwise one line per field."""
    if not isinstance(value, dict) or not value:
        return [f"  - {_inline(value)}"]
    nested = any(isinstance(field, dict | list) for field in value.values())
    if len(line := _inline(value)) <= _ITEM_WIDTH and not nested:
        return [f"  - {line}"]
    first, *rest = (f"{name}: {_inline(field)}" for name, field in value.items())
    return [f"  - {first}", *(f"    {line}" for line in rest)]


def _inline(value: Any) -> str:
    """Return any value on one line, with deeper values in parentheses."""
    if isinstance(value, dict) and value:
        return ", ".join(f"{name}: {_bracketed(field)}" for name, field in value.items())
    if isinstance(value, list) and value:
        return ", ".join(map(_bracketed, value))
    return " ".join(_scalar(value).split())


def _bracketed(value: Any) -> str:
    return f"({_inline(value)})" if value and isinstance(value, dict | list) else _inline(value)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else printable(str(value or _EMPTY))


def columns(rows: Sequence[Sequence[str]], indent: str = "") -> Iterator[str]:
    """Yield the rows as lines with aligned columns. On a terminal the last column is wrapped."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)][:-1]
    terminal = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for *cells, last in rows:
        start = indent + "".join(f"{cell:{width}}  " for cell, width in zip(cells, widths, strict=True))
        room = terminal - len(start)
        lines = textwrap.wrap(last, room) if room >= _MIN_WRAP_WIDTH else [last]
        yield f"\n{' ' * len(start)}".join([start + lines[0], *lines[1:]]).rstrip() if lines else start.rstrip()
