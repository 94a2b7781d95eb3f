"""Read JSON files and the settings of modules, and record the place of every mistake."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from perspectives.errors import Problem, below
from perspectives.json_values import MAX_BYTES

MAX_FILE_BYTES = 4 * MAX_BYTES
"""Maximum bytes of a file, including white space and escapes."""


class UnreadableFile(Exception):
    """The file cannot be read or is not valid JSON. `problem`: the mistake and its place."""

    def __init__(self, message: str, pointer: str = "") -> None:
        super().__init__(message)
        self.problem = Problem(pointer, message)


class _DuplicateKey(dict[str, Any]):
    """An object that contains a key twice. `key`: the first such key."""

    key = ""


def json_files(directory: Path) -> Iterator[Path]:
    """Yield every `*.json` file below the directory, sorted. Links are followed, but no directory is read twice.

    Hidden files and directories are skipped. Kubernetes mounts a ConfigMap as links into a hidden directory, so
    every file would be listed twice otherwise.
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
    """Return the content of a file. Raises UnreadableFile."""
    text = _text(file)
    try:
        data = json.loads(text, object_pairs_hook=_object, parse_constant=_reject_constant)
    except json.JSONDecodeError as error:
        reason = (error.msg[:1].lower() + error.msg[1:]).removesuffix(" at")
        raise UnreadableFile(f"Is not JSON: {reason} at line {error.lineno}, column {error.colno}.") from None
    except RecursionError:
        raise UnreadableFile("Is nested too deeply.") from None
    except ValueError:
        raise UnreadableFile("Contains a number with too many digits.") from None
    _reject_duplicate_keys(data)
    return data


def _text(file: Path) -> str:
    try:
        if not file.is_file():
            raise UnreadableFile("Is not a file that can be read.")
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UnreadableFile(f"Cannot be read: {error.strerror or 'input/output error'}.") from None
    if len(content) > MAX_FILE_BYTES:
        raise UnreadableFile(f"Is larger than {MAX_FILE_BYTES // 1024} KiB.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableFile(f"Is not UTF-8: line {line} has an invalid byte. Save the file as UTF-8.") from None


def _reject_constant(name: str) -> NoReturn:
    raise UnreadableFile(f"Contains {name}, which is not JSON.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) == len(pairs):
        return result
    duplicate = _DuplicateKey(result)
    duplicate.key = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
    return duplicate


def _reject_duplicate_keys(data: Any) -> None:
    """Raise UnreadableFile if an object contains a key twice, because the second value would replace the first."""
    waiting = [("", data)]
    while waiting:
        pointer, value = waiting.pop()
        if isinstance(value, _DuplicateKey):
            raise UnreadableFile("The key is written twice in the same object.", below(pointer, value.key))
        if isinstance(value, dict):
            waiting += [(below(pointer, key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(below(pointer, index), inner) for index, inner in enumerate(value)]


@dataclass(frozen=True, slots=True)
class ModuleSetting:
    """The settings of one module."""

    enabled: bool = True
    display_name: str = ""


@dataclass
class ModuleSettings:
    """The content of `perspective_settings.json`.

    `override`: whether a perspective may replace one of the same name from an earlier directory.
    """

    modules: dict[str, ModuleSetting] = field(default_factory=dict)
    override: bool = True
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def of(self, module: str) -> ModuleSetting:
        """Return the settings of a module. A module without settings is enabled and has no separate display name."""
        return self.modules.get(module, ModuleSetting())

    def flag(self, entry: Mapping[str, Any], key: str, pointer: str) -> bool:
        """Read a flag that is true by default."""
        value = entry.get(key)
        if value is not None and not isinstance(value, bool):
            self.problems.append(Problem(below(pointer, key), "Must be true or false; it is read as true."))
        return value is not False

    def warn_unknown(self, entry: Mapping[str, Any], known: set[str], pointer: str) -> None:
        """Record a warning for every unknown key."""
        unknown = [key for key in entry if key not in known and not key.startswith("$")]
        self.warnings += [Problem(below(pointer, key), "Is not a known key; it has no effect.") for key in unknown]


def read_settings(file: Path | None) -> ModuleSettings:
    """Read the settings of modules. Mistakes are recorded, not raised. Without a file, every module is enabled."""
    settings = ModuleSettings()
    if file is None or not file.exists():
        return settings
    try:
        data = read_json(file)
    except UnreadableFile as error:
        settings.problems.append(error.problem)
        return settings
    if not isinstance(data, dict):
        settings.problems.append(Problem("", "Must be an object with modules."))
        return settings
    modules = data.get("modules") or {}
    if not isinstance(data.get("modules"), dict | None):
        settings.problems.append(Problem("/modules", "Must be an object of modules by name."))
        modules = {}
    for name, entry in modules.items():
        _read_module(name, entry, settings)
    settings.override = settings.flag(data, "local_override", "")
    settings.warn_unknown(data, {"modules", "local_override"}, "")
    return settings


def _read_module(name: str, entry: Any, settings: ModuleSettings) -> None:
    pointer = below("/modules", name)
    if not isinstance(entry, dict):
        settings.problems.append(Problem(pointer, "Must be an object with enabled and display_name."))
        return
    title = entry.get("display_name") or ""
    if not isinstance(title, str):
        settings.problems.append(Problem(below(pointer, "display_name"), "Must be text."))
        title = ""
    settings.modules[name] = ModuleSetting(settings.flag(entry, "enabled", pointer), title)
    settings.warn_unknown(entry, {"enabled", "display_name"}, pointer)
