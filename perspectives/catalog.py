"""All perspectives of a deployment: loaded once at start, looked up by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from perspectives.errors import InvalidPerspective, Problem, UnknownModule, UnknownPerspective, below
from perspectives.files import Unreadable, json_files, read_json
from perspectives.modules import ModuleInfo, ModuleSettings, infos, read_settings
from perspectives.perspective import Perspective, parse

__all__ = ["LIBRARY", "Catalog", "FileProblem", "Found", "ModuleInfo", "check", "load"]

LIBRARY = Path(__file__).parent / "library"
"""The perspectives that ship."""

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class FileProblem:
    """What is wrong with a file or directory: an error keeps (part of) it from being used, a warning does not.

    `file` is the path as it was found; `place` is short enough to show to strangers.
    """

    file: Path
    pointer: str
    message: str
    severity: Severity

    @property
    def place(self) -> str:
        """The file with its folder, and nothing of the path above."""
        return _place(self.file)

    def __str__(self) -> str:
        """Put everything in one line, without the path above the folder."""
        return f"{self.place}: {Problem(self.pointer, self.message)}"


@dataclass
class Found:
    """What directories hold: perspectives by name, how many `files` were read, and what is wrong with them.

    `replaced`: names that a later directory took over. `broken`: files that cannot be used, by name and by stem.
    """

    perspectives: dict[str, Perspective] = field(default_factory=dict)
    files: int = 0
    problems: list[FileProblem] = field(default_factory=list)
    replaced: set[str] = field(default_factory=set)
    broken: dict[str, Path] = field(default_factory=dict)

    def note(self, file: Path, problems: Sequence[Problem], severity: Severity) -> None:
        """Keep what is wrong with a file."""
        self.problems += [FileProblem(file, one.pointer, one.message, severity) for one in problems]


class Catalog:
    """Perspectives and modules. Those of a disabled module are neither listed nor found."""

    def __init__(self, found: Found, settings: ModuleSettings) -> None:
        ordered = sorted(found.perspectives.values(), key=lambda one: (one.priority, one.name))
        self.files = found.files
        self.problems = tuple(found.problems)
        self.replaced = frozenset(found.replaced)
        self._broken: Mapping[str, Path] = found.broken
        self._modules = infos(ordered, settings)
        self._enabled = {one.name: one for one in ordered if self._modules[one.module].enabled}
        self._disabled = {one.name: one.module for one in ordered if one.name not in self._enabled}

    def get(self, name: str) -> Perspective:
        """The perspective of that name. Raises UnknownPerspective with the reason, or with similar names."""
        if name not in self._enabled:
            raise UnknownPerspective(name, _near(name, list(self._enabled)), self._reason(name))
        return self._enabled[name]

    def _reason(self, name: str) -> str:
        """Why a perspective that somebody wrote is not found."""
        if name in self._disabled:
            return f"its module '{self._disabled[name]}' is turned off in perspective_settings.json."
        if name in self._broken:
            return f"{_place(self._broken[name])} has mistakes, which `graphcap perspectives check` lists."
        return ""

    def all(self) -> tuple[Perspective, ...]:
        """Every enabled perspective, by priority (lower first), then name."""
        return tuple(self._enabled.values())

    def modules(self) -> list[ModuleInfo]:
        """Every module by name; disabled ones too."""
        return list(self._modules.values())

    def module(self, name: str) -> ModuleInfo:
        """The module of that name. Raises UnknownModule with similar names."""
        if name not in self._modules:
            raise UnknownModule(name, _near(name, list(self._modules)))
        return self._modules[name]


def load(directories: Sequence[Path], settings_file: Path | None = None) -> Catalog:
    """Load every perspective below these directories; a later one replaces those of the same name before it.

    Nothing in a file raises: what is wrong is in the catalog's `problems`, and the rest is loaded.
    """
    settings = read_settings(settings_file)
    loading = _Loading(settings.override)
    found = loading.found
    if settings_file is not None:
        found.note(settings_file, settings.problems, "error")
        found.note(settings_file, settings.warnings, "warning")
    for directory in directories:
        loading.read(directory)
    present = {one.module for one in found.perspectives.values()}
    for name in settings.modules:
        if settings_file is not None and name not in present:
            unused = Problem(below("/modules", name), "No perspective is in this module.")
            found.note(settings_file, [unused], "warning")
    return Catalog(found, settings)


def check(paths: Sequence[Path]) -> Found:
    """What is wrong with these files, and with those below these directories."""
    loading = _Loading(override=True)
    for path in paths:
        if path.is_dir():
            loading.read(path)
        elif (perspective := loading.parse(path, path.parent)) is not None:
            loading.found.note(path, perspective.warnings, "warning")
    return loading.found


class _Loading:
    """Directory after directory: what was found so far."""

    def __init__(self, override: bool) -> None:
        self.found = Found()
        self._override = override

    def read(self, directory: Path) -> None:
        """Take every perspective below a directory."""
        if not directory.is_dir():
            self.found.note(directory, [Problem("", "Is not a directory that can be read.")], "warning")
            return
        here: dict[str, Path] = {}
        for file in json_files(directory):
            perspective = self.parse(file, directory)
            if perspective is None:
                continue
            if perspective.name in here:
                first = here[perspective.name].relative_to(directory)
                self.found.note(file, [Problem("/name", f"{first} has this name too and is used.")], "error")
                continue
            here[perspective.name] = file
            self._take(perspective, file)

    def _take(self, perspective: Perspective, file: Path) -> None:
        found = self.found
        if perspective.name in found.perspectives:
            if not self._override:
                kept = Problem("/name", "Is taken by an earlier directory, and local_override is false.")
                found.note(file, [kept], "warning")
                return
            found.replaced.add(perspective.name)
        found.perspectives[perspective.name] = perspective
        found.note(file, perspective.warnings, "warning")

    def parse(self, file: Path, directory: Path) -> Perspective | None:
        """The perspective in a file; None when it is broken, which is noted."""
        self.found.files += 1
        data: Any = None
        try:
            data = read_json(file)
            folder = file.parent.name if file.parent != directory else "custom"
            return parse(data, source=str(file), module=folder)
        except Unreadable as error:
            self.found.note(file, [error.problem], "error")
        except InvalidPerspective as error:
            self.found.note(file, error.problems, "error")
        named = data.get("name") if isinstance(data, dict) else None
        self.found.broken |= {name: file for name in (named, file.stem) if isinstance(name, str)}
        return None


def _place(file: Path) -> str:
    return "/".join(file.parts[-2:])


def _near(name: str, names: list[str]) -> tuple[str, ...]:
    return tuple(get_close_matches(name[:200], names, n=3))
