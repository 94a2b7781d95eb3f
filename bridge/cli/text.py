"""Text for terminals: colours, captions and columns."""

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

_MIN_WRAP_WIDTH = 20
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
    """Return a caption as indented text: one line per field. The items of a list follow below its name."""
    return "\n".join(_lines(result, "bold"))


def _field(name: str, value: Any, style: str) -> list[str]:
    name = paint(printable(name), style) if style else printable(name)
    if value and isinstance(value, dict | list):
        return [f"{name}:", *(f"  {line}" for line in _lines(value))]
    return [f"{name}: {_scalar(value)}"]


def _lines(value: Any, style: str = "") -> list[str]:
    if isinstance(value, dict):
        return [line for name, field in value.items() for line in _field(name, field, style)]
    return [line for item in value for line in _item(item)]


def _item(value: Any) -> list[str]:
    """Return an item of a list. An object without nested values is one line."""
    if not value or not isinstance(value, dict | list):
        return [f"- {_scalar(value)}"]
    lines = _lines(value)
    if isinstance(value, dict) and not any(isinstance(field, dict | list) for field in value.values()):
        lines = [", ".join(lines)]
    return [f"- {lines[0]}", *(f"  {line}" for line in lines[1:])]


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else printable(str(value or "(none)"))


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the rows as lines with aligned columns. On a terminal the last column is wrapped."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)][:-1]
    terminal = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for *cells, last in rows:
        start = "".join(f"{cell:{width}}  " for cell, width in zip(cells, widths, strict=True))
        room = terminal - len(start)
        lines = textwrap.wrap(last, room) if room >= _MIN_WRAP_WIDTH else [last]
        yield (start + f"\n{' ' * len(start)}".join(lines)).rstrip()
