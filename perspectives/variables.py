"""Variables of a prompt: what a caller may fill in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from perspectives.errors import Problem, below
from perspectives.plain import JsonObject

PLACEHOLDER = re.compile(r"\{([^\W\d]\w*)\}")
"""`{identifier}`; every other brace is literal, JSON examples included."""
_KNOWN = {"name", "description", "default", "required"}


@dataclass(frozen=True, slots=True)
class Variable:
    """A value that a caller gives; `default` None means that it must be given."""

    name: str
    description: str = ""
    default: str | None = None

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is None

    def to_wire(self) -> JsonObject:
        """As it is listed, and as it may be sent back."""
        told: JsonObject = {"name": self.name, "description": self.description, "required": self.required}
        return told if self.default is None else {**told, "default": self.default}


@dataclass(frozen=True, slots=True)
class Declared:
    """The variables of a perspective, and what is wrong or odd about them."""

    variables: tuple[Variable, ...]
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def placeholders(prompt: str) -> tuple[str, ...]:
    """The names in the prompt that look like placeholders, each once, in order."""
    return tuple(dict.fromkeys(PLACEHOLDER.findall(prompt)))


def undeclared(prompt: str, pointer: str) -> Declared:
    """For a file without `variables`: every placeholder becomes an optional variable, blank by default."""
    names = placeholders(prompt)
    warnings = [
        Problem(pointer, f"The placeholder {{{name}}} is not declared in variables; it is optional and blank.")
        for name in names
    ]
    return Declared(tuple(Variable(name, "", "") for name in names), (), tuple(warnings))


def declared(given: object, pointer: str, prompt: str, prompt_pointer: str) -> Declared:
    """`variables` as a list of names or objects, or as an object of objects by name."""
    if isinstance(given, Mapping):
        entries = [(below(pointer, name), _named(str(name), entry)) for name, entry in given.items()]
    elif isinstance(given, list):
        entries = [(below(pointer, index), entry) for index, entry in enumerate(given)]
    else:
        return Declared((), (Problem(pointer, "Must be a list of variables."),))
    variables: dict[str, Variable] = {}
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for at, entry in entries:
        found = _variable({"name": entry} if isinstance(entry, str) else entry, at)
        if isinstance(found, Problem):
            problems.append(found)
        elif found.name in variables:
            problems.append(Problem(at, f"Another variable is called '{found.name}' too."))
        else:
            variables[found.name] = found
            warnings += _unknown_keys(entry, at)
    warnings += _mismatch(variables, placeholders(prompt), pointer, prompt_pointer)
    return Declared(tuple(variables.values()), tuple(problems), tuple(warnings))


def _named(name: str, entry: object) -> object:
    if isinstance(entry, Mapping):
        return {**entry, "name": name}
    return {"name": name} if entry is None else entry if not isinstance(entry, str) else None


def _unknown_keys(entry: object, pointer: str) -> list[Problem]:
    keys = entry if isinstance(entry, Mapping) else ()
    return [
        Problem(below(pointer, key), "Is not a key of a variable; it has no effect.")
        for key in keys
        if key not in _KNOWN
    ]


def _variable(entry: object, pointer: str) -> Variable | Problem:
    if not isinstance(entry, Mapping):
        return Problem(pointer, "Must be a variable: an object with name, description and perhaps default.")
    name, default, required = entry.get("name"), entry.get("default"), entry.get("required")
    if not isinstance(name, str) or not PLACEHOLDER.fullmatch(f"{{{name}}}"):
        return Problem(below(pointer, "name"), "Must be an identifier: letters, digits and underscores.")
    description = entry.get("description") or ""
    if not isinstance(description, str):
        return Problem(below(pointer, "description"), "Must be text.")
    if not isinstance(default, str | None):
        return Problem(below(pointer, "default"), "Must be text.")
    if not isinstance(required, bool | None):
        return Problem(below(pointer, "required"), "Must be true or false.")
    if required and default is not None:
        return Problem(below(pointer, "default"), "A required variable has no default.")
    return Variable(name, description, "" if required is False and default is None else default)


def _mismatch(
    variables: Mapping[str, Variable], used: tuple[str, ...], pointer: str, prompt_pointer: str
) -> list[Problem]:
    unused = [Problem(pointer, f"The prompt does not use '{name}'.") for name in variables if name not in used]
    literal = [
        Problem(prompt_pointer, f"{{{name}}} is not a declared variable and stays as it is written.")
        for name in used
        if name not in variables
    ]
    return [*unused, *literal]
