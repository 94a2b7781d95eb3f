"""Modules: which are enabled and what they are called (`perspective_settings.json`)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perspectives.errors import Problem, below
from perspectives.files import Unreadable, read_json
from perspectives.perspective import Perspective


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """A module as it is listed; a disabled one counts its perspectives too."""

    name: str
    display_name: str
    description: str
    enabled: bool
    perspective_count: int


@dataclass(frozen=True, slots=True)
class ModuleSetting:
    """What the settings file says of one module."""

    enabled: bool = True
    display_name: str = ""


@dataclass
class ModuleSettings:
    """The settings file; `override`: whether a later directory may replace a perspective of an earlier one."""

    modules: dict[str, ModuleSetting] = field(default_factory=dict)
    override: bool = True
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def of(self, module: str) -> ModuleSetting:
        """The setting of one module; enabled under its own name unless the file says otherwise."""
        return self.modules.get(module, ModuleSetting())


def read_settings(file: Path | None) -> ModuleSettings:
    """Read the settings file; without one everything is enabled. Mistakes are noted, never raised."""
    settings = ModuleSettings()
    if file is None or not file.exists():
        return settings
    try:
        data = read_json(file)
    except Unreadable as error:
        settings.problems.append(error.problem)
        return settings
    if not isinstance(data, dict):
        settings.problems.append(Problem("", "Must be an object with modules."))
        return settings
    _read_modules(data.get("modules"), settings)
    settings.override = _flag(data, "local_override", "", settings)
    settings.warnings += _unknown(data, {"modules", "local_override"}, "")
    return settings


def _read_modules(modules: Any, settings: ModuleSettings) -> None:
    if modules is None:
        return
    if not isinstance(modules, dict):
        settings.problems.append(Problem("/modules", "Must be an object of modules by name."))
        return
    for name, entry in modules.items():
        at = below("/modules", name)
        if not isinstance(entry, dict):
            settings.problems.append(Problem(at, "Must be an object with enabled and display_name."))
            continue
        title = entry.get("display_name") or ""
        if not isinstance(title, str):
            settings.problems.append(Problem(below(at, "display_name"), "Must be text."))
            title = ""
        settings.modules[name] = ModuleSetting(_flag(entry, "enabled", at, settings), title)
        settings.warnings += _unknown(entry, {"enabled", "display_name"}, at)


def _flag(entry: Mapping[str, Any], key: str, pointer: str, settings: ModuleSettings) -> bool:
    """True unless it says false."""
    value = entry.get(key)
    if value is not None and not isinstance(value, bool):
        settings.problems.append(Problem(below(pointer, key), "Must be true or false; it is taken as true."))
    return value is not False


def _unknown(entry: Mapping[str, Any], known: set[str], pointer: str) -> list[Problem]:
    return [
        Problem(below(pointer, key), "Is not a known key; it has no effect.")
        for key in entry
        if key not in known and not key.startswith("$")
    ]


def infos(perspectives: Iterable[Perspective], settings: ModuleSettings) -> dict[str, ModuleInfo]:
    """Every module that has perspectives, by name."""
    inside: dict[str, list[Perspective]] = {}
    for perspective in perspectives:
        inside.setdefault(perspective.module, []).append(perspective)
    return {name: _info(name, inside[name], settings.of(name)) for name in sorted(inside)}


def _info(name: str, inside: list[Perspective], setting: ModuleSetting) -> ModuleInfo:
    titles = ", ".join(one.display_name for one in inside[:6]) + (", …" if len(inside) > 6 else "")
    return ModuleInfo(
        name=name,
        display_name=setting.display_name or name.replace("_", " ").title(),
        description=f"{titles}.",
        enabled=setting.enabled,
        perspective_count=len(inside),
    )
