"""Translate the errors of jsonschema-rs to problems, whose messages contain no text of the answer."""

import json
from collections.abc import Iterator
from typing import Any

from jsonschema_rs import ValidationError

from perspectives.errors import Problem, below

_SHOWN = 20
_LONG = 200
_NAMES = {"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}
_NAMES |= {"array": "a list", "object": "an object", "null": "null"}
_KINDS = {str: "text", int: "a number", float: "a number", bool: "true or false", list: "a list", dict: "an object"}
_KINDS[type(None)] = "null"
_FORMATS = {
    "date": "a date such as 2026-05-31",
    "time": "a time with an offset such as 14:05:00Z",
    "date-time": "a date and time such as 2026-05-31T14:05:00+02:00 (RFC 3339)",
    "email": "an e-mail address",
    "uri": "an absolute address such as https://example.org/a",
    "uuid": "a UUID",
}
_SENTENCES = {
    "minLength": "Must have at least {limit} characters.",
    "maxLength": "Must have at most {limit} characters.",
    "minItems": "Must have at least {limit} items.",
    "maxItems": "Must have at most {limit} items.",
    "minProperties": "Must have at least {limit} properties.",
    "maxProperties": "Must have at most {limit} properties.",
    "minimum": "Must be at least {limit}.",
    "maximum": "Must be at most {limit}.",
    "exclusiveMinimum": "Must be more than {limit}.",
    "exclusiveMaximum": "Must be less than {limit}.",
    "multipleOf": "Must be a multiple of {multiple_of}.",
    "pattern": "Must match the pattern {pattern}",
    "uniqueItems": "Must not contain an item twice.",
    "contains": "Must contain items as `contains` describes them, as many as it demands.",
    "not": "Must not match the schema under `not`.",
    "propertyNames": "Has a property whose name is not allowed.",
    "falseSchema": "Is not allowed here; leave it out.",
    "unevaluatedItems": "Has more items than the schema describes.",
    "additionalItems": "Has more items than the schema describes.",
    "oneOf": "Matches more than one of the alternatives in `oneOf`; it must match exactly one.",
}


def problems_of(error: ValidationError, pointer: str) -> Iterator[Problem]:
    """Translate one error to problems. `pointer`: the JSON Pointer of the validated value."""
    at = below(pointer, *error.instance_path) if error.instance_path else pointer
    kind: Any = error.kind
    if kind.name == "required":
        yield Problem(below(at, kind.property), "Is missing.")
    elif kind.name in ("additionalProperties", "unevaluatedProperties"):
        for name in kind.unexpected[:_SHOWN]:
            yield Problem(below(at, name), "Is not a property of this object; leave it out.")
    elif kind.name in ("anyOf", "oneOf") and (branch := _meant(kind.context)):
        for inner in branch:
            yield from problems_of(inner, pointer)
    else:
        yield Problem(at, _sentence(kind, error))


def _meant(context: list[list[ValidationError]]) -> list[ValidationError] | None:
    """Return the errors of the alternative that was probably intended, None if this is ambiguous.

    The intended alternative is the only one that accepts the value's type, or its values for `const` and `enum`.
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


def _sentence(kind: Any, error: ValidationError) -> str:
    if kind.name == "type":
        return f"Must be {' or '.join(_NAMES[name] for name in kind.types)}, not {_KINDS[type(error.instance)]}."
    if kind.name == "enum":
        more = f" (or {len(kind.options) - _SHOWN} others)" if len(kind.options) > _SHOWN else ""
        return f"Must be one of {', '.join(map(_written, kind.options[:_SHOWN]))}{more}."
    if kind.name == "not" and kind.schema == {}:
        return _SENTENCES["falseSchema"]
    if kind.name == "const":
        return f"Must be {_written(kind.expected_value)}."
    if kind.name == "format":
        meaning = _FORMATS.get(kind.format)
        return f"Must be {meaning}, as the format {kind.format} demands." if meaning else f"Must be a {kind.format}."
    if kind.name in ("anyOf", "oneOf") and any(kind.context):
        return f"Must match {'one' if kind.name == 'anyOf' else 'exactly one'} of the alternatives in `{kind.name}`."
    values = {name: _shortened(str(value)) for name, value in kind.as_dict().items()}
    return _SENTENCES.get(kind.name, "Does not match the schema.").format(**values)


def _written(value: Any) -> str:
    return _shortened(json.dumps(value, ensure_ascii=False))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONG else text[:_LONG] + "…"
