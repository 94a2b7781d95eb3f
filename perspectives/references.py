"""`$ref` and the one-entry `allOf`: what stands in their place."""

from dataclasses import dataclass
from typing import Any

from perspectives.errors import Problem, below
from perspectives.keywords import ANNOTATIONS, KEYWORDS
from perspectives.limits import MAX_DEPTH
from perspectives.plain import JsonObject

_PREFIXES = ("#/$defs/", "#/definitions/")
_READ_PAST = frozenset({"$defs", "definitions", "$schema", "$id", "$comment"})


@dataclass(frozen=True, slots=True)
class Target:
    """What stands in place of a reference, where it was written, and the reference that led there."""

    node: Any
    pointer: str
    refs: tuple[str, ...]


def resolved(given: JsonObject, pointer: str, root: Any, open_refs: tuple[str, ...]) -> Target | Problem | None:
    """Follow one step; None when there is nothing to follow. `open_refs` are those that led here."""
    word = "$ref" if "$ref" in given else "allOf" if "allOf" in given else None
    if word is None:
        return None
    for other in given:
        if other != word and other in KEYWORDS and other not in ANNOTATIONS | _READ_PAST:
            return Problem(below(pointer, other), f"Stands beside {word}; only annotations may.")
    if word == "allOf":
        return _single(given["allOf"], below(pointer, "allOf"))
    return _definition(given["$ref"], below(pointer, "$ref"), root, open_refs)


def _single(entries: Any, pointer: str) -> Target | Problem:
    if not isinstance(entries, list) or len(entries) != 1:
        return Problem(pointer, "Is supported with exactly one entry; merge the entries into one schema.")
    return Target(entries[0], below(pointer, 0), ())


def _definition(ref: Any, pointer: str, root: Any, open_refs: tuple[str, ...]) -> Target | Problem:
    if not isinstance(ref, str) or not ref.startswith(_PREFIXES):
        return Problem(pointer, "Only references to #/$defs/… of the same schema are supported.")
    if ref in open_refs:
        return Problem(pointer, "Is recursive: a schema cannot contain itself.")
    if len(open_refs) >= MAX_DEPTH:
        return Problem(pointer, f"Is the end of a chain of more than {MAX_DEPTH} references.")
    _, section, *names = ref.split("/")
    name = "/".join(names).replace("~1", "/").replace("~0", "~")
    definitions = root.get(section) if isinstance(root, dict) else None
    if len(names) != 1 or not isinstance(definitions, dict) or name not in definitions:
        return Problem(pointer, "Names a definition that does not exist.")
    return Target(definitions[name], below("", section, name), (ref,))
