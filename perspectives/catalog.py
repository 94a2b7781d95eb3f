"""All perspectives of a deployment: loaded once at start, looked up by name."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from perspectives.errors import InvalidPerspective, Problem, UnknownModule, UnknownPerspective, below
from perspectives.loader import ModuleSettings, UnreadableFile, json_files, read_json, read_settings
from perspectives.perspective import Perspective, parse

LIBRARY = Path(__file__).parent / "library"
"""The shipped perspectives."""

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """A module as it is listed; a disabled module counts its perspectives too."""

    name: str
    display_name: str
    description: str
    enabled: bool
    perspective_count: int


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A mistake in a file or directory. An error keeps (part of) it from being used, a warning does not."""

    file: Path
    pointer: str
    message: str
    severity: Severity

    @property
    def place(self) -> str:
        """Return the file with its folder, without the path above, which is private."""
        return _place(self.file)

    def __str__(self) -> str:
        """Return everything in one line."""
        return f"{self.place}: {Problem(self.pointer, self.message)}"


@dataclass
class Loaded:
    """The content of directories: perspectives by name, the number of files read, and mistakes.

    `replaced`: names that a later directory defines again. `broken`: unusable files, by name and by stem.
    """

    perspectives: dict[str, Perspective] = field(default_factory=dict)
    files: int = 0
    problems: list[FileProblem] = field(default_factory=list)
    replaced: set[str] = field(default_factory=set)
    broken: dict[str, Path] = field(default_factory=dict)

    def note(self, file: Path, problems: Sequence[Problem], severity: Severity) -> None:
        """Record the mistakes of a file."""
        self.problems += [FileProblem(file, problem.pointer, problem.message, severity) for problem in problems]

    def parse(self, file: Path, directory: Path) -> Perspective | None:
        """Return the perspective in a file; None when it is broken, which is recorded."""
        self.files += 1
        data: Any = None
        try:
            data = read_json(file)
            folder = file.parent.name if file.parent != directory else "custom"
            return parse(data, source=str(file), module=folder)
        except UnreadableFile as error:
            self.note(file, [error.problem], "error")
        except InvalidPerspective as error:
            self.note(file, error.problems, "error")
        name = data.get("name") if isinstance(data, dict) else None
        self.broken |= {name: file for name in (name, file.stem) if isinstance(name, str)}
        return None

    def read(self, directory: Path, override: bool) -> None:
        """Add every perspective below a directory; `override`: whether they replace earlier ones."""
        if not directory.is_dir():
            self.note(directory, [Problem("", "Is not a directory that can be read.")], "warning")
            return
        here: dict[str, Path] = {}
        for file in json_files(directory):
            perspective = self.parse(file, directory)
            if perspective is None:
                continue
            first = here.setdefault(perspective.name, file)
            if first is not file:
                used = f"{first.relative_to(directory)} has this name too and is used."
                self.note(file, [Problem("/name", used)], "error")
            else:
                self._add(perspective, file, override)

    def _add(self, perspective: Perspective, file: Path, override: bool) -> None:
        if perspective.name in self.perspectives:
            if not override:
                kept = Problem("/name", "Is defined by an earlier directory, and local_override is false.")
                self.note(file, [kept], "warning")
                return
            self.replaced.add(perspective.name)
        self.perspectives[perspective.name] = perspective
        self.note(file, perspective.warnings, "warning")


class Catalog:
    """Perspectives and modules. Perspectives of a disabled module are not available."""

    def __init__(self, loaded: Loaded, settings: ModuleSettings) -> None:
        ordered = sorted(loaded.perspectives.values(), key=lambda each: (each.priority, each.name))
        self.files = loaded.files
        self.problems = tuple(loaded.problems)
        self.replaced = frozenset(loaded.replaced)
        self._broken: Mapping[str, Path] = loaded.broken
        self._modules = _modules(ordered, settings)
        self._enabled = {each.name: each for each in ordered if self._modules[each.module].enabled}
        self._disabled = {each.name: each.module for each in ordered if each.name not in self._enabled}

    def get(self, name: str) -> Perspective:
        """Return the perspective. Raises UnknownPerspective with the reason, or with similar names."""
        if name in self._enabled:
            return self._enabled[name]
        reason = ""
        if name in self._disabled:
            reason = f"its module '{self._disabled[name]}' is disabled in perspective_settings.json."
        elif name in self._broken:
            reason = f"{_place(self._broken[name])} has mistakes, which `graphcap perspectives check` lists."
        raise UnknownPerspective(name, _near(name, self._enabled), reason)

    def all(self) -> tuple[Perspective, ...]:
        """Return every enabled perspective, by priority (lower first), then name."""
        return tuple(self._enabled.values())

    def modules(self) -> list[ModuleInfo]:
        """Return every module by name, disabled ones included."""
        return list(self._modules.values())

    def module(self, name: str) -> ModuleInfo:
        """Return the module. Raises UnknownModule with similar names."""
        if name not in self._modules:
            raise UnknownModule(name, _near(name, self._modules))
        return self._modules[name]


def load(directories: Sequence[Path], settings_file: Path | None = None) -> Catalog:
    """Load every perspective below these directories; a later one replaces earlier ones of the same name.

    Never raises for a file: mistakes are in the catalog's `problems`, and the rest is loaded.
    """
    settings, loaded = read_settings(settings_file), Loaded()
    for directory in directories:
        loaded.read(directory, settings.override)
    if settings_file is not None:
        present = {each.module for each in loaded.perspectives.values()}
        unused = [below("/modules", name) for name in settings.modules if name not in present]
        settings.warnings += [Problem(pointer, "No perspective is in this module.") for pointer in unused]
        loaded.note(settings_file, settings.problems, "error")
        loaded.note(settings_file, settings.warnings, "warning")
    return Catalog(loaded, settings)


def check(paths: Sequence[Path]) -> Loaded:
    """Return the mistakes in these files, and in those below these directories."""
    loaded = Loaded()
    for path in paths:
        if path.is_dir():
            loaded.read(path, override=True)
        elif (perspective := loaded.parse(path, path.parent)) is not None:
            loaded.note(path, perspective.warnings, "warning")
    return loaded


def _modules(perspectives: Iterable[Perspective], settings: ModuleSettings) -> dict[str, ModuleInfo]:
    members: dict[str, list[Perspective]] = {}
    for perspective in perspectives:
        members.setdefault(perspective.module, []).append(perspective)
    return {name: _module(name, members[name], settings) for name in sorted(members)}


def _module(name: str, members: list[Perspective], settings: ModuleSettings) -> ModuleInfo:
    titles = ", ".join(each.display_name for each in members[:6]) + (", …" if len(members) > 6 else "")
    return ModuleInfo(
        name=name,
        display_name=settings.of(name).display_name or name.replace("_", " ").title(),
        description=f"{titles}.",
        enabled=settings.of(name).enabled,
        perspective_count=len(members),
    )


def _place(file: Path) -> str:
    return "/".join(file.parts[-2:])


def _near(name: str, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(get_close_matches(name[:200], list(names), n=3))
