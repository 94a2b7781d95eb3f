"""JSON files in a directory: found, guarded and read, with the place of whatever is wrong."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from perspectives.errors import Problem, below
from perspectives.limits import MAX_BYTES

MAX_FILE_BYTES = 4 * MAX_BYTES
"""Size of a file: white space and escapes included."""


class Unreadable(Exception):
    """The file is not JSON that can be taken; `problem` says where and why."""

    def __init__(self, message: str, pointer: str = "") -> None:
        super().__init__(message)
        self.problem = Problem(pointer, message)


class _Twice(dict[str, Any]):
    """An object in which a key was written twice."""

    key = ""


def json_files(directory: Path) -> Iterator[Path]:
    """Every `*.json` below the directory, sorted; links are followed once.

    Hidden names are passed over: a Kubernetes ConfigMap is mounted as links into a hidden directory, which
    would show every file twice.
    """
    seen: set[str] = set()
    for folder, folders, names in os.walk(directory, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(".json") and not name.startswith("."):
                yield Path(folder, name)


def read_json(file: Path) -> Any:
    """The content of a file. Raises Unreadable for whatever keeps it from being one JSON value."""
    text = _text(file)
    try:
        data = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except json.JSONDecodeError as error:
        reason = (error.msg[:1].lower() + error.msg[1:]).removesuffix(" at")
        raise Unreadable(f"Is not JSON: {reason} at line {error.lineno}, column {error.colno}.") from None
    except RecursionError:
        raise Unreadable("Is nested too deeply.") from None
    except ValueError:
        raise Unreadable("Holds a number with too many digits.") from None
    _refuse_twice(data)
    return data


def _text(file: Path) -> str:
    try:
        if not file.is_file():
            raise Unreadable("Is not a file that can be read.")
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise Unreadable(f"Cannot be read: {error.strerror or 'input/output error'}.") from None
    if len(content) > MAX_FILE_BYTES:
        raise Unreadable(f"Is larger than {MAX_FILE_BYTES // 1024} KiB.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Unreadable(f"Is not UTF-8: line {line} holds a byte that is not. Save it as UTF-8.") from None


def _constant(name: str) -> NoReturn:
    raise Unreadable(f"Holds {name}, which is not JSON.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    twice = _Twice(made)
    seen: set[str] = set()
    twice.key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return twice


def _refuse_twice(data: Any) -> None:
    """A second writing of a key hides the first, so it is not taken."""
    todo = [("", data)]
    while todo:
        pointer, value = todo.pop()
        if isinstance(value, _Twice):
            raise Unreadable("The key stands twice in the same object.", below(pointer, value.key))
        if isinstance(value, dict):
            todo += [(below(pointer, key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            todo += [(below(pointer, index), inner) for index, inner in enumerate(value)]
