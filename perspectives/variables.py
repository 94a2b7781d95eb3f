"""Variables, whose values replace the placeholders of a prompt."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from perspectives.document import Document
from perspectives.errors import Problem, below, shortened
from perspectives.json_values import JsonObject

PLACEHOLDER = re.compile(r"\{([^\W\d]\w*)\}")
"""Matches `{identifier}`. All other braces are literal, such as those of JSON examples."""
_KNOWN = {"name", "description", "default", "required"}


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of a prompt. A variable without a `default` is required."""

    name: str
    description: str = ""
    default: str | None = None

    @property
    def required(self) -> bool:
        """Return whether the caller must pass a value, because the variable has no default."""
        return self.default is None

    def to_wire(self) -> JsonObject:
        """Return the variable as JSON for the HTTP API."""
        wire: JsonObject = {"name": self.name, "description": self.description, "required": self.required}
        return wire if self.default is None else {**wire, "default": self.default}


def read_variables(document: Document, prompt: str) -> tuple[Variable, ...]:
    """Read `variables`, a list of names or objects, or an object that maps names to objects. Mistakes are recorded.

    If the document has no `variables`, every placeholder of the prompt becomes a variable with the default "".
    """
    entries, pointer, used = document.get("variables"), document.pointer("variables"), PLACEHOLDER.findall(prompt)
    if entries is None:
        for name in dict.fromkeys(used):
            document.warning("prompt", f"The placeholder {{{name}}} is not declared in variables; it is optional.")
        return tuple(Variable(name, "", "") for name in dict.fromkeys(used))
    variables: dict[str, Variable] = {}
    for at, entry in _entries(entries, pointer):
        variable = _variable(entry, at)
        if isinstance(variable, Problem):
            document.problems.append(variable)
        elif variable.name in variables:
            document.problems.append(Problem(at, f"Another variable is called '{shortened(variable.name)}' too."))
        else:
            variables[variable.name] = variable
            document.warn_unknown(entry, _KNOWN, at, "Is not a key of a variable; it has no effect.")
    for name in variables:
        if name not in used:
            document.warning("variables", f"The prompt does not use '{shortened(name)}'.")
    for name in dict.fromkeys(used):
        if name not in variables:
            document.warning("prompt", f"{{{name}}} is not a declared variable and stays as it is written.")
    return tuple(variables.values())


def _entries(entries: object, pointer: str) -> list[tuple[str, Any]]:
    """Return the pointer and the object of each variable. `_variable` rejects entries that are not objects."""
    if isinstance(entries, list):
        named = [{"name": entry} if isinstance(entry, str) else entry for entry in entries]
        return [(below(pointer, index), entry) for index, entry in enumerate(named)]
    if isinstance(entries, dict):
        return [
            (below(pointer, name), {**(entry or {}), "name": name} if isinstance(entry, dict | None) else entry)
            for name, entry in entries.items()
        ]
    return [(pointer, None)]


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
