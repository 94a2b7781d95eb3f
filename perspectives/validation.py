"""Validate answers with jsonschema-rs. Messages contain no text of the answer, and nothing is fetched.

jsonschema-rs holds the GIL while it validates (measured with version 0.60), so validating in a thread would block the
event loop too. Therefore the size of an answer times the weight of its schema is limited.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from jsonschema_rs import ValidationError, validator_for

from perspectives import patterns
from perspectives.errors import MAX_PROBLEMS, InvalidPerspective, Problem, ValidationFailed, below
from perspectives.json_values import JsonObject, NotJson, copy_json, items, to_json
from perspectives.keywords import BRANCHING
from perspectives.messages import MASK, problems_of
from perspectives.schema import normalise

MAX_COST = 4_000_000  # maximum bytes of an answer times the weight of its schema: 50 ms (benchmarks/schemas.py)
MAX_ANSWER_BYTES = 1_000_000  # maximum length of an answer as JSON. Callers reject longer texts before parsing
MAX_ANSWER_DEPTH = 100  # maximum levels of objects and lists in an answer
_CHEAP_COST = 400_000
_CHEAP_LENGTH = 16 * 1024
_LISTED_COST = 20_000  # a failed alternative creates an error, which takes 7 µs
_CACHED = 128
_CACHEABLE = 32_768  # characters of JSON text; validators of larger schemas are not cached


@dataclass(frozen=True, slots=True)
class Validated:
    """A valid answer. `warnings`: sentences about properties that were dropped."""

    value: JsonObject
    warnings: tuple[str, ...] = ()


class Validator:
    """Validate answers against one schema. `weight`, `warnings`: see `normalise`."""

    def __init__(self, schema: JsonObject) -> None:
        """`schema`: any JSON Schema. Raises InvalidPerspective."""
        self.json_schema, self.weight, self.warnings = normalise(schema)
        self._parts: dict[int, _Part] = {}
        self._engine = _engine(self.json_schema)

    def is_cheap(self, text_length: int) -> bool:
        """Return whether validating an answer of `text_length` characters is fast enough for the event loop (2 ms)."""
        return text_length <= _CHEAP_LENGTH and text_length * self.weight <= _CHEAP_COST

    def validate(self, value: Any) -> Validated:
        """Normalise an answer and validate it. Raises ValidationFailed.

        Sort properties into the schema's order, convert numbers and booleans written as text, and drop undeclared
        properties if `properties` is the only keyword for properties in the object's schema.
        """
        self._check_size(value)
        dropped: list[str] = []
        normalised = _normalised(value, self.json_schema, "", dropped)
        if not self._engine.is_valid(normalised):
            if self._engine.is_valid(value):  # a keyword such as minProperties counts the dropped properties
                return Validated(value)
            raise ValidationFailed(islice(self._problems(normalised, self.json_schema, ""), MAX_PROBLEMS))
        if not dropped:
            return Validated(normalised)
        names = ", ".join(dropped[:5]) + (", …" if len(dropped) > 5 else "")
        return Validated(normalised, (f"Properties that the schema does not declare were dropped: {names}.",))

    def _check_size(self, value: object) -> None:
        """Raise ValidationFailed if the value is not JSON or would take too long to validate."""
        try:
            size = len(to_json(value, MAX_ANSWER_DEPTH))
        except NotJson as error:
            raise _failed(str(error)) from None
        limit = min(MAX_ANSWER_BYTES, MAX_COST // self.weight)
        if size > limit:
            raise _failed(f"Is too large to be validated against this schema: {size:,} bytes, at most {limit:,}.")

    def _problems(self, value: Any, node: JsonObject, pointer: str) -> Iterator[Problem]:
        """Yield the problems of the value, then those of its properties and items.

        Each part is validated separately, because the engine creates all errors, perhaps millions, before it returns.
        """
        part = self._part(node)
        if BRANCHING & node.keys() and part.weight * len(json.dumps(value)) > _LISTED_COST:
            if not part.shallow.is_valid(value):
                yield Problem(pointer, "Does not match the schema here.")
        else:
            for error in part.shallow.iter_errors(value):
                yield from problems_of(error, pointer)
        for token, item in items(value):
            inner = _schema_of(token, node)
            if inner is not None:
                yield from self._problems(item, inner, below(pointer, token))

    def _part(self, node: JsonObject) -> "_Part":
        if id(node) not in self._parts:
            self._parts[id(node)] = _Part(node)
        return self._parts[id(node)]


class _Part:
    """One subschema. `shallow`: a validator that does not check properties and items."""

    def __init__(self, node: JsonObject) -> None:
        self.weight = _subschemas(node)
        opened = dict(node)
        if "properties" in node:
            opened["properties"] = dict.fromkeys(node["properties"], True)
        if "prefixItems" in node:
            opened["prefixItems"] = [True] * len(node["prefixItems"])
        for word in ("items", "additionalProperties"):
            if isinstance(node.get(word), dict) and "patternProperties" not in node:
                opened[word] = True
        self.shallow = _engine(opened)


def compile_schema(schema: JsonObject) -> Validator:
    """Return the validator of a JSON Schema, which may be cached. Raises InvalidPerspective."""
    text = json.dumps(copy_json(schema), ensure_ascii=False, separators=(",", ":"))
    return cached_validator(text) if len(text) <= _CACHEABLE else Validator(json.loads(text))


@lru_cache(maxsize=_CACHED)
def cached_validator(text: str) -> Validator:
    """Return the validator of a JSON Schema in a text. Raises InvalidPerspective."""
    return Validator(json.loads(text))


def _engine(schema: JsonObject) -> Any:
    try:
        return validator_for(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema},
            offline=True,
            mask=MASK,
            pattern_options=patterns.OPTIONS,
            validate_formats=True,
        )
    except (ValidationError, ValueError) as error:
        raise InvalidPerspective([Problem("", f"The schema cannot be compiled: {error}"[:500])]) from None


def _failed(message: str) -> ValidationFailed:
    return ValidationFailed([Problem("", message)])


def _schema_of(token: str | int, node: JsonObject) -> JsonObject | None:
    """Return the subschema of a property or an item, or None unless exactly one applies."""
    if isinstance(token, int):
        prefix = node.get("prefixItems", ())
        inner = prefix[token] if token < len(prefix) else node.get("items")
    elif token in node.get("properties", ()):
        inner = node["properties"][token]
    else:
        inner = None if "patternProperties" in node else node.get("additionalProperties")
    return inner if isinstance(inner, dict) else None


def _subschemas(schema: Any) -> int:
    if isinstance(schema, list):
        return sum(map(_subschemas, schema))
    return 1 + sum(map(_subschemas, schema.values())) if isinstance(schema, dict) else 0


def _from_text(text: str, node: JsonObject) -> Any:
    """Convert a text to a number or boolean if the schema accepts that type but no text; otherwise return the text."""
    stated = node.get("type", ())
    types = {stated} if isinstance(stated, str) else set(stated)
    if "string" in types or len(text) > 100:
        return text
    word = text.strip().lower()
    if "boolean" in types and word in ("true", "false"):
        return word == "true"
    if types & {"number", "integer"} and word.isascii() and "_" not in word:
        with suppress(ValueError):
            number = float(word)
            return int(word) if word.lstrip("+-").isdecimal() else int(number) if number.is_integer() else number
    return text


def _normalised(value: Any, node: JsonObject, pointer: str, dropped: list[str]) -> Any:
    """Normalise a value (see `Validator.validate`), and append the pointers of dropped properties to `dropped`."""
    if BRANCHING & node.keys():
        return value
    if isinstance(value, dict) and (properties := node.get("properties")):
        result = {
            name: _normalised(value[name], inner, below(pointer, name), dropped)
            for name, inner in properties.items()
            if name in value
        }
        for name, item in value.items():
            if name in properties:
                continue
            if "additionalProperties" in node or name in node.get("required", ()):
                result[name] = item
            else:
                dropped.append(below(pointer, name))
        return result
    if isinstance(value, list) and isinstance(node.get("items"), dict) and "prefixItems" not in node:
        return [_normalised(item, node["items"], below(pointer, index), dropped) for index, item in enumerate(value)]
    return _from_text(value, node) if isinstance(value, str) else value
