"""Exceptions of this package, and the problems that they contain.

    PerspectiveError             base class
    ├── InvalidPerspective       the perspective cannot be used; `problems` lists every mistake
    ├── UnknownPerspective       no usable perspective has this name
    ├── UnknownModule            no module has this name
    ├── MissingVariables         variables without a default were not passed; `names`
    ├── UnknownVariables         variables were passed that the perspective does not declare
    └── ValidationFailed         the answer violates the schema; `problems` says where

Pointers are RFC 6901 JSON Pointers. Messages are sentences for users, and for the model in a re-ask.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

MAX_PROBLEMS = 20  # the maximum number of problems in one exception
_SHOWN = 3
_MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake. `pointer`: a JSON Pointer to the place in the perspective or the answer, "" for the root."""

    pointer: str
    message: str

    def __str__(self) -> str:
        return f"{self.pointer}: {self.message}" if self.pointer else self.message


def under(pointer: str, problems: Iterable[Problem]) -> list[Problem]:
    """Return the problems of a part of a document with pointers into the document. `pointer`: the part's place."""
    return [Problem(pointer + problem.pointer, problem.message) for problem in problems]


def below(pointer: str, *tokens: str | int) -> str:
    """Append tokens to a JSON Pointer. Tokens longer than 200 characters are shortened."""
    escaped = (shortened(str(token), _MAX_NAME).replace("~", "~0").replace("/", "~1") for token in tokens)
    return "/".join([pointer, *escaped])


class PerspectiveError(Exception):
    """Base class of this package's exceptions. The message is a sentence for users."""


class InvalidPerspective(PerspectiveError):
    """The perspective cannot be used."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)[:MAX_PROBLEMS]
        super().__init__(f"The perspective is not valid: {_listed(self.problems)}")


class UnknownPerspective(PerspectiveError):
    """No usable perspective has this name. `reason`: why an existing perspective cannot be used, otherwise ""."""

    def __init__(self, name: str, known: Iterable[str], reason: str) -> None:
        explanation = f"There is no perspective '{shortened(name)}'.{suggestion(name, known)}"
        super().__init__(f"The perspective '{shortened(name)}' cannot be used: {reason}" if reason else explanation)


class UnknownModule(PerspectiveError):
    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"There is no module '{shortened(name)}'.{suggestion(name, known)}")


class MissingVariables(PerspectiveError):
    """Variables without a default were not passed. `unknown`: passed variables that are not declared."""

    def __init__(self, names: tuple[str, ...], unknown: tuple[str, ...]) -> None:
        self.names = names
        others = f" It has no variable {', '.join(map(shortened, unknown[:_SHOWN]))}." if unknown else ""
        super().__init__(f"The perspective needs a value in 'variables' for: {', '.join(names)}.{others}")


class UnknownVariables(PerspectiveError):
    """Variables were passed that the perspective does not declare. `known`: the declared variables."""

    def __init__(self, names: tuple[str, ...], known: tuple[str, ...]) -> None:
        declared = f"it declares {', '.join(known)}" if known else "it declares none"
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        unknown = ", ".join(shortened(name) for name in names[:_SHOWN]) + more
        super().__init__(f"The perspective has no variable {unknown}; {declared}.{suggestion(names[0], known)}")


class ValidationFailed(PerspectiveError):
    """The answer violates the schema."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)[:MAX_PROBLEMS]
        super().__init__(f"The answer does not match the schema: {_listed(self.problems)}")


def _listed(problems: tuple[Problem, ...]) -> str:
    more = len(problems) - _SHOWN
    return " ".join(map(str, problems[:_SHOWN])) + (f" (And {more} more.)" if more > 0 else "")


def suggestion(name: str, known: Iterable[str], cutoff: float = 0.7) -> str:
    """Return ` Did you mean 'x'?` with the known name that is most similar to `name`, "" if none is similar."""
    near = get_close_matches(name[:_MAX_NAME], list(known), n=1, cutoff=cutoff)
    return f" Did you mean '{near[0]}'?" if near else ""


def shortened(name: str, length: int = 100) -> str:
    """Shorten a name from a caller to at most `length` characters, for messages."""
    return name if len(name) <= length else name[:length] + "…"
