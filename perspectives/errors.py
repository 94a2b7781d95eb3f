"""Everything that can be wrong with a perspective, its variables or an answer to it.

    PerspectiveError             what this package raises, and nothing else
    ├── InvalidPerspective       it cannot be used; `problems` is everything that is wrong with it
    ├── UnknownPerspective       no perspective of that name that can be used; `near` are similar names
    ├── UnknownModule            no module of that name
    ├── MissingVariables         `names` of all variables that have no default and were not given
    ├── UnknownVariables         `names` that were given and that the perspective does not declare
    └── ValidationFailed               an answer that violates the schema; `problems` is what to mend

Pointers are RFC 6901 JSON Pointers, messages are sentences for a person (or for the model that is asked again).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from perspectives.limits import MAX_NAME

SHOWN = 3
"""Problems that the text of an exception spells out; all of them are in `problems`."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where: `pointer` into the perspective or the answer, "" for the whole."""

    pointer: str
    message: str

    def __str__(self) -> str:
        """Put both in one line."""
        return f"{self.pointer}: {self.message}" if self.pointer else self.message

    def under(self, pointer: str) -> "Problem":
        """The same problem, seen from the document that holds this one at `pointer`."""
        return Problem(pointer + self.pointer, self.message)


def below(pointer: str, *tokens: str | int) -> str:
    """The pointer to what lies `tokens` below `pointer`; a name of thousands of characters is cut short."""
    escaped = (_cut(str(token)).replace("~", "~0").replace("/", "~1") for token in tokens)
    return "/".join([pointer, *escaped])


def _cut(token: str) -> str:
    return token if len(token) <= MAX_NAME else token[:MAX_NAME] + "…"


class PerspectiveError(Exception):
    """Something about a perspective is wrong; the text is a sentence for a person."""


class InvalidPerspective(PerspectiveError):
    """The perspective cannot be used."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(f"The perspective is not valid: {_spelled(self.problems)}")


class UnknownPerspective(PerspectiveError):
    """There is no perspective of that name, or it cannot be used: `reason` says why, as a sentence."""

    def __init__(self, name: str, near: tuple[str, ...] = (), reason: str = "") -> None:
        self.name = name
        self.near = near
        if reason:
            super().__init__(f"The perspective '{_shortened(name)}' cannot be used: {reason}")
        else:
            super().__init__(f"There is no perspective '{_shortened(name)}'.{_hint(near)}")


class UnknownModule(PerspectiveError):
    """There is no module of that name."""

    def __init__(self, name: str, near: tuple[str, ...] = ()) -> None:
        self.name = name
        self.near = near
        super().__init__(f"There is no module '{_shortened(name)}'.{_hint(near)}")


class MissingVariables(PerspectiveError):
    """The perspective needs values that were not given."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        super().__init__(f"The perspective needs a value in 'variables' for: {', '.join(names)}.")


class UnknownVariables(PerspectiveError):
    """Values were given for variables that the perspective does not declare (`known` are those it does)."""

    def __init__(self, names: tuple[str, ...], known: tuple[str, ...]) -> None:
        self.names = names
        self.known = known
        declared = f"it declares {', '.join(known)}" if known else "it declares none"
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        given = ", ".join(_shortened(name) for name in names[:SHOWN]) + more
        super().__init__(f"The perspective has no variable {given}; {declared}.")


class ValidationFailed(PerspectiveError):
    """The answer violates the schema."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(f"The answer does not fit the schema: {_spelled(self.problems)}")


def _spelled(problems: tuple[Problem, ...]) -> str:
    more = len(problems) - SHOWN
    return " ".join(map(str, problems[:SHOWN])) + (f" (And {more} more.)" if more > 0 else "")


def _hint(near: tuple[str, ...]) -> str:
    return f" Did you mean {' or '.join(repr(name) for name in near)}?" if near else ""


def _shortened(name: str) -> str:
    return name if len(name) <= 100 else name[:100] + "…"
