"""All perspectives of a deployment: loaded once at start, looked up by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from perspectives.errors import InvalidPerspective, Problem, UnknownModule, UnknownPerspective, below
from perspectives.files import Unreadable, json_files, read_json
from perspectives.modules import ModuleInfo, ModuleSettings, infos, read_settings
from perspectives.perspective import Perspective, parse

__all__ = ["LIBRARY", "Catalog", "FileProblem", "ModuleInfo", "check", "load"]

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
        return "/".join(self.file.parts[-2:])

    def __str__(self) -> str:
        """Put everything in one line, without the path above the folder."""
        return f"{self.place}: {Problem(self.pointer, self.message)}"


class Catalog:
    """Perspectives and modules. Those of a disabled module are neither listed nor found."""

    def __init__(
        self, perspectives: Sequence[Perspective], settings: ModuleSettings, problems: Sequence[FileProblem]
    ) -> None:
        ordered = sorted(perspectives, key=lambda one: (one.priority, one.name))
        self.problems = tuple(problems)
        self._modules = infos(ordered, settings)
        self._enabled = {one.name: one for one in ordered if self._modules[one.module].enabled}

    def get(self, name: str) -> Perspective:
        """The perspective of that name. Raises UnknownPerspective with similar names."""
        if name not in self._enabled:
            raise UnknownPerspective(name, _near(name, list(self._enabled)))
        return self._enabled[name]

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
    if settings_file is not None:
        loading.note(settings_file, settings.problems, "error")
        loading.note(settings_file, settings.warnings, "warning")
    for directory in directories:
        loading.read(directory)
    present = {one.module for one in loading.found.values()}
    for name in settings.modules:
        if settings_file is not None and name not in present:
            unused = Problem(below("/modules", name), "No perspective is in this module.")
            loading.note(settings_file, [unused], "warning")
    return Catalog(list(loading.found.values()), settings, loading.problems)


def check(paths: Sequence[Path]) -> tuple[FileProblem, ...]:
    """What is wrong with these files, and with those below these directories; nothing is loaded."""
    loading = _Loading(override=True)
    for path in paths:
        if path.is_dir():
            loading.read(path)
        elif (perspective := loading.parse(path, path.parent)) is not None:
            loading.note(path, perspective.warnings, "warning")
    return tuple(loading.problems)


class _Loading:
    """Directory after directory: what was found so far, and what was wrong."""

    def __init__(self, override: bool) -> None:
        self.found: dict[str, Perspective] = {}
        self.problems: list[FileProblem] = []
        self._override = override

    def note(self, file: Path, problems: Sequence[Problem], severity: Severity) -> None:
        """Keep what is wrong with a file."""
        self.problems += [FileProblem(file, one.pointer, one.message, severity) for one in problems]

    def read(self, directory: Path) -> None:
        """Take every perspective below a directory."""
        if not directory.is_dir():
            self.note(directory, [Problem("", "Is not a directory that can be read.")], "warning")
            return
        here: dict[str, Path] = {}
        for file in json_files(directory):
            perspective = self.parse(file, directory)
            if perspective is None:
                continue
            if perspective.name in here:
                first = here[perspective.name].relative_to(directory)
                self.note(file, [Problem("/name", f"{first} has this name too and is used.")], "error")
                continue
            here[perspective.name] = file
            self._take(perspective, file)

    def _take(self, perspective: Perspective, file: Path) -> None:
        if perspective.name in self.found and not self._override:
            kept = Problem("/name", "Is taken by an earlier directory, and local_override is false.")
            self.note(file, [kept], "warning")
            return
        self.found[perspective.name] = perspective
        self.note(file, perspective.warnings, "warning")

    def parse(self, file: Path, directory: Path) -> Perspective | None:
        """The perspective in a file; None when it is broken, which is noted."""
        try:
            data: Any = read_json(file)
            folder = file.parent.name if file.parent != directory else "custom"
            return parse(data, source=str(file), module=folder)
        except Unreadable as error:
            self.note(file, [error.problem], "error")
        except InvalidPerspective as error:
            self.note(file, error.problems, "error")
        return None


def _near(name: str, names: list[str]) -> tuple[str, ...]:
    return tuple(get_close_matches(name[:200], names, n=3))
