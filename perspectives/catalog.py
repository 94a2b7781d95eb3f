"""The catalog of all perspectives of a deployment, loaded once at start."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from perspectives.errors import InvalidPerspective, Problem, UnknownModule, UnknownPerspective, below
from perspectives.forms import ModuleSetting
from perspectives.loader import ModuleSettings, UnreadableFile, json_files, read_json, read_settings
from perspectives.perspective import Perspective, parse

LIBRARY = Path(__file__).parent / "library"  # the directory of the perspectives that are part of the package

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """A module. `perspective_count` is also set if the module is disabled."""

    name: str
    display_name: str
    description: str
    enabled: bool
    perspective_count: int


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A mistake in a file or directory. With severity "error", the file or the affected part is not used."""

    file: Path
    pointer: str
    message: str
    severity: Severity

    @property
    def place(self) -> str:
        return _place(self.file)

    def __str__(self) -> str:
        return f"{self.place}: {Problem(self.pointer, self.message)}"


@dataclass
class Loaded:
    """Perspectives and mistakes that were loaded from directories.

    `perspectives`: maps names to perspectives. `files`: the number of files read. `replaced`: names of perspectives
    that a later directory replaced. `broken`: maps the perspective's name and the stem of each unusable file to the
    file.
    """

    perspectives: dict[str, Perspective] = field(default_factory=dict)
    files: int = 0
    problems: list[FileProblem] = field(default_factory=list)
    replaced: set[str] = field(default_factory=set)
    broken: dict[str, Path] = field(default_factory=dict)

    def note(self, file: Path, problems: Sequence[Problem], severity: Severity) -> None:
        shown = _encodable(file)
        self.problems += [FileProblem(shown, problem.pointer, problem.message, severity) for problem in problems]

    def parse(self, file: Path, directory: Path) -> Perspective | None:
        """Read the perspective in a file. Return None and record the mistakes if the file is not usable."""
        self.files += 1
        shown = _encodable(file)
        data: Any = None
        try:
            data = read_json(file)
            folder = shown.parent.name if file.parent != directory else "custom"
            return parse(data, source=str(shown), module=folder)
        except UnreadableFile as error:
            self.note(file, [error.problem], "error")
        except InvalidPerspective as error:
            self.note(file, error.problems, "error")
        name = data.get("name") if isinstance(data, dict) else None
        self.broken |= {name: shown for name in (name, shown.stem) if isinstance(name, str)}
        return None

    def read(self, directory: Path, override: bool) -> None:
        """Add every perspective below a directory. `override`: whether to replace one of the same name."""
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
            elif perspective.name in self.perspectives and not override:
                kept = "Is defined by an earlier directory, and local_override is false."
                self.note(file, [Problem("/name", kept)], "warning")
            else:
                self.replaced |= self.perspectives.keys() & {perspective.name}
                self.perspectives[perspective.name] = perspective
                self.note(file, perspective.warnings, "warning")


class Catalog:
    """The enabled perspectives and all modules. Perspectives of a disabled module are not available."""

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
        """Return a perspective. Raises UnknownPerspective with the reason, or with similar names."""
        if name in self._enabled:
            return self._enabled[name]
        reason = ""
        if name in self._disabled:
            reason = f"its module '{self._disabled[name]}' is disabled in perspective_settings.json."
        elif name in self._broken:
            reason = f"{_place(self._broken[name])} has mistakes, which `graphcap perspectives check` lists."
        raise UnknownPerspective(name, self._enabled, reason)

    def all(self) -> tuple[Perspective, ...]:
        """Return all enabled perspectives, sorted by priority (lower first), then by name."""
        return tuple(self._enabled.values())

    def modules(self) -> list[ModuleInfo]:
        """Return all modules sorted by name, including disabled modules."""
        return list(self._modules.values())

    def module(self, name: str) -> ModuleInfo:
        """Return a module. Raises UnknownModule with similar names."""
        if name not in self._modules:
            raise UnknownModule(name, self._modules)
        return self._modules[name]


def load(directories: Sequence[Path], settings_file: Path | None = None) -> Catalog:
    """Load all perspectives below these directories.

    If several directories contain the same name, the last one is used, unless `local_override` is false.
    A mistake in a file does not raise: it is recorded in the catalog's `problems`, and the other files are loaded.
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
    """Load these files and all files below these directories, and record their mistakes."""
    loaded = Loaded()
    for path in paths:
        if path.is_dir():
            loaded.read(path, override=True)
        elif (perspective := loaded.parse(path, path.parent)) is not None:
            loaded.note(path, perspective.warnings, "warning")
    return loaded


def _modules(perspectives: Iterable[Perspective], settings: ModuleSettings) -> dict[str, ModuleInfo]:
    titles: dict[str, list[str]] = {}
    for perspective in perspectives:
        titles.setdefault(perspective.module, []).append(perspective.display_name)
    modules = {}
    for name in sorted(titles):
        setting = settings.modules.get(name, ModuleSetting())
        title = setting.display_name or name.replace("_", " ").title()
        description = f"{', '.join(titles[name][:6])}{', …' if len(titles[name]) > 6 else ''}."
        modules[name] = ModuleInfo(name, title, description, setting.enabled, len(titles[name]))
    return modules


def _encodable(file: Path) -> Path:
    """Return the path with `?` for each byte that is not UTF-8, so that it can be written as JSON."""
    return Path(str(file).encode("utf-8", "replace").decode())


def _place(file: Path) -> str:
    """Return the names of the folder and the file. The rest of the path is private."""
    return "/".join(file.parts[-2:])
