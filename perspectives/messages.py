"""Translate the errors of jsonschema-rs to problems. Messages contain no text of the validated value."""

import json
from collections.abc import Iterator
from typing import Any

from jsonschema_rs import ValidationError

from perspectives.errors import Problem, below, shortened

MASK = "The value"  # the words for the validated value in the messages of jsonschema-rs
_SHOWN = 20
_MAX_LENGTH = 500
_SENTENCES = {
    "contains": f"{MASK} does not have as many items that match `contains` as the schema demands",
    "not": f"{MASK} matches the schema under `not`",
    "propertyNames": f"{MASK} has a property whose name is not allowed",
    "falseSchema": f"{MASK} is not allowed here; leave it out",
}
"""Messages that replace those of jsonschema-rs."""


def problems_of(error: ValidationError, pointer: str) -> Iterator[Problem]:
    """Translate one error to problems. `pointer`: the JSON Pointer of the validated value."""
    at = below(pointer, *error.instance_path) if error.instance_path else pointer
    kind: Any = error.kind
    if kind.name == "required":
        yield Problem(below(at, kind.property), f"{MASK} is missing.")
    elif kind.name in ("additionalProperties", "unevaluatedProperties"):
        for name in kind.unexpected[:_SHOWN]:
            yield Problem(below(at, name), "The object has no property of this name; leave it out.")
    elif kind.name in ("anyOf", "oneOf") and (branch := _meant(kind.context)):
        for inner in branch:
            yield from problems_of(inner, pointer)
    else:
        message = _SENTENCES.get(kind.name, error.message)
        if kind.name == "enum":
            options = [json.dumps(option, ensure_ascii=False) for option in kind.options[:_SHOWN]]
            message = f"{MASK} is not one of {', '.join(options)}{', …' if len(kind.options) > _SHOWN else ''}"
        yield Problem(at, f"{shortened(message, _MAX_LENGTH)}.")


def _meant(context: list[list[ValidationError]]) -> list[ValidationError] | None:
    """Return the errors of the alternative that was probably intended, None if this is ambiguous.

    It is the only alternative whose `type`, `const` and `enum` accept the value. If there are several, it is the only
    one of them whose `const` and `enum` also accept the values of the properties.
    """
    branches = [errors for errors in context if errors]
    depth = min((len(errors[0].instance_path) for errors in branches), default=0)
    for words, levels in (({"type", "const", "enum"}, depth), ({"const", "enum"}, depth + 1)):
        branches = [
            errors
            for errors in branches
            if not any(error.kind.name in words and len(error.instance_path) == levels for error in errors)
        ]
        if len(branches) == 1:
            return branches[0]
    return None
