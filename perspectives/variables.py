"""Variables: the placeholders of a prompt that a caller fills in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from perspectives.errors import Problem, below, shortened
from perspectives.json_values import JsonObject

PLACEHOLDER = re.compile(r"\{([^\W\d]\w*)\}")
"""`{identifier}`; every other brace is literal, JSON examples included."""
_KNOWN = {"name", "description", "default", "required"}


@dataclass(frozen=True, slots=True)
class Variable:
    """A value that a caller passes; without a `default` it is required."""

    name: str
    description: str = ""
    default: str | None = None

    @property
    def required(self) -> bool:
        """Return whether there is no default."""
        return self.default is None

    def to_wire(self) -> JsonObject:
        """Return the variable as it is listed over HTTP."""
        wire: JsonObject = {"name": self.name, "description": self.description, "required": self.required}
        return wire if self.default is None else {**wire, "default": self.default}


@dataclass(slots=True)
class Declared:
    """The variables of a perspective, and the mistakes in their declaration."""

    variables: dict[str, Variable] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def undeclared(prompt: str, pointer: str) -> Declared:
    """Make every placeholder of a prompt without `variables` an optional variable, empty by default."""
    names = dict.fromkeys(PLACEHOLDER.findall(prompt))
    warnings = [
        Problem(pointer, f"The placeholder {{{name}}} is not declared in variables; it is optional and empty.")
        for name in names
    ]
    return Declared({name: Variable(name, "", "") for name in names}, [], warnings)


def declared(entries: object, pointer: str, prompt: str, prompt_pointer: str) -> Declared:
    """Read `variables`: a list of names or objects, or an object of objects by name."""
    result = Declared()
    if isinstance(entries, Mapping):
        for name, entry in entries.items():
            named = {**entry, "name": name} if isinstance(entry, Mapping) else {"name": name} if entry is None else None
            _read(named, below(pointer, name), result)
    elif isinstance(entries, list):
        for index, entry in enumerate(entries):
            _read({"name": entry} if isinstance(entry, str) else entry, below(pointer, index), result)
    else:
        return Declared(problems=[Problem(pointer, "Must be a list of variables.")])
    used = dict.fromkeys(PLACEHOLDER.findall(prompt))
    result.warnings += [
        Problem(pointer, f"The prompt does not use '{shortened(name)}'.")
        for name in result.variables
        if name not in used
    ]
    result.warnings += [
        Problem(prompt_pointer, f"{{{name}}} is not a declared variable and stays as it is written.")
        for name in used
        if name not in result.variables
    ]
    return result


def _read(entry: object, pointer: str, result: Declared) -> None:
    variable = _variable(entry, pointer)
    if isinstance(variable, Problem):
        result.problems.append(variable)
    elif variable.name in result.variables:
        result.problems.append(Problem(pointer, f"Another variable is called '{shortened(variable.name)}' too."))
    else:
        result.variables[variable.name] = variable
        unknown = (key for key in entry if key not in _KNOWN) if isinstance(entry, Mapping) else ()
        result.warnings += [
            Problem(below(pointer, key), "Is not a key of a variable; it has no effect.") for key in unknown
        ]


def _variable(entry: object, pointer: str) -> Variable | Problem:
    if not isinstance(entry, Mapping):
        return Problem(pointer, "Must be a variable: an object with name, description and perhaps default.")
    name, default, required = entry.get("name"), entry.get("default"), entry.get("required")
    description = entry.get("description") or ""
    if not isinstance(name, str) or not PLACEHOLDER.fullmatch(f"{{{name}}}"):
        return Problem(below(pointer, "name"), "Must be an identifier: letters, digits and underscores.")
    if not isinstance(description, str):
        return Problem(below(pointer, "description"), "Must be text.")
    if not isinstance(default, str | None):
        return Problem(below(pointer, "default"), "Must be text.")
    if not isinstance(required, bool | None):
        return Problem(below(pointer, "required"), "Must be true or false.")
    if required and default is not None:
        return Problem(below(pointer, "default"), "A required variable has no default.")
    return Variable(name, description, "" if required is False and default is None else default)
