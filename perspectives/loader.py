"""Read JSON files and the settings of modules. Record every mistake with its place."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perspectives.errors import Problem, below, shortened
from perspectives.forms import F, ModuleSetting, SettingsForm, validated
from perspectives.json_values import MAX_BYTES

MAX_FILE_BYTES = 4 * MAX_BYTES  # maximum bytes of a file, including white space and escapes


class UnreadableFile(Exception):
    """The file cannot be read or is not valid JSON. `problem`: the mistake."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.problem = Problem("", message)


def json_files(directory: Path) -> Iterator[Path]:
    """Yield every `*.json` file below the directory, sorted. Links are followed. No directory is read twice.

    Hidden directories are skipped, because Kubernetes mounts a ConfigMap as links to files in a hidden directory. Each
    file would be found twice.
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
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        reason = (error.msg[:1].lower() + error.msg[1:]).removesuffix(" at")
        raise UnreadableFile(f"Is not JSON: {reason} at line {error.lineno}, column {error.colno}.") from None
    except RecursionError:
        raise UnreadableFile("Is nested too deeply.") from None
    except ValueError:
        raise UnreadableFile("Contains a number with too many digits.") from None


def _text(file: Path) -> str:
    try:
        if not file.is_file():
            raise UnreadableFile("Is not a file that can be read." if file.exists() else "There is no such file.")
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


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object. A repeated key is rejected, because its second value would replace the first."""
    result = dict(pairs)
    if len(result) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise UnreadableFile(f"The key '{shortened(twice)}' is written twice in the same object.")
    return result


@dataclass
class ModuleSettings:
    """The settings of modules, with the mistakes in their file. `override`: see `SettingsForm.local_override`."""

    modules: dict[str, ModuleSetting] = field(default_factory=dict)
    override: bool = True
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def read(self, form: type[F], data: Any, place: str) -> F:
        """Read an object of the file, and record mistakes and unknown keys. `place`: the object's JSON Pointer."""
        read = validated(form, data, lambda key: below(place, key) if key else place, self.problems)
        unknown = [key for key in read.model_extra or () if not key.startswith("$")]
        self.warnings += [Problem(below(place, key), "Is not a known key; it has no effect.") for key in unknown]
        return read


def read_settings(file: Path | None) -> ModuleSettings:
    """Read the settings of modules. Mistakes are recorded, not raised. Without a file, every module is enabled."""
    settings = ModuleSettings()
    try:
        data = read_json(file) if file is not None and file.exists() else {}
    except UnreadableFile as error:
        settings.problems.append(error.problem)
        data = {}
    form = settings.read(SettingsForm, data, "")
    settings.override = form.local_override
    settings.modules = {
        name: settings.read(ModuleSetting, entry, below("/modules", name)) for name, entry in form.modules.items()
    }
    return settings
