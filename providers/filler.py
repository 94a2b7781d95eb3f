"""Generate a small value that validates against a JSON Schema without `$ref`. One sentence fills its free text.

Candidates are tried in order until one validates. A value for a pattern is found only if a sample text matches.
"""

from collections.abc import Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from itertools import product
from typing import Any

import jsonschema_rs

from providers.errors import SchemaNotFillable

Schema = dict[str, Any]

_MAX_TRIES = 3_000
_MAX_ITEMS = 1_000
_COMBINED = frozenset({"allOf", "anyOf", "oneOf", "if"})
_SUBSCHEMAS = frozenset({"items", "additionalProperties", "contains", "if", "then", "else"})
_UNITED = frozenset({"required", "prefixItems", "allOf", "anyOf", "oneOf"})
_TYPES = {
    "string": ("minLength", "maxLength", "pattern", "format"),
    "null": (),
    "boolean": (),
    "integer": (),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "array": ("items", "prefixItems", "minItems", "contains", "uniqueItems"),
    "object": ("properties", "required", "additionalProperties", "patternProperties", "minProperties"),
}
_FORMATS = {
    **dict.fromkeys(("email", "idn-email"), "a@example.org"),
    **dict.fromkeys(("hostname", "idn-hostname"), "example.org"),
    **dict.fromkeys(("uri", "iri"), "https://example.org/"),
    **dict.fromkeys(("uri-reference", "iri-reference", "uri-template", "json-pointer", "regex"), ""),
    "date": "1970-01-01",
    "time": "00:00:00Z",
    "date-time": "1970-01-01T00:00:00Z",
    "duration": "PT0S",
    "ipv4": "192.0.2.1",
    "ipv6": "::",
    "uuid": "00000000-0000-0000-0000-000000000000",
    "relative-json-pointer": "0",
}
_SAMPLES = (
    *("unknown", "yes", "no", "true", "false", "none", "#000000", "#000", "1970-01-01", "1970", "00:00", "00:00:00"),
    *("0.0", "0.0.0", "0%", "0x0", "0-0", "0:0", "0,0", "a-a", "a_a", "a/a", "a.a", "A0", "A-0", "en", "en-US", "a b"),
    *(character * length for length in range(1, 41) for character in "a0A"),
)
"""Texts that common patterns accept: words, codes, numbers, colours, dates, and runs of one character."""


def fill(schema: Schema, sentence: str) -> Any:
    """Return a value that validates against `schema`, with `sentence` as its free text. Raises SchemaNotFillable."""
    return _Filler(sentence).value(schema, "")


def _not_fillable(pointer: str) -> SchemaNotFillable:
    return SchemaNotFillable(
        f"The built-in provider cannot produce a value for the field '{pointer or '/'}'. "
        "Simplify its schema, or choose a vision model."
    )


class _Filler:
    """Generates values for one schema from a limited number of candidates."""

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence
        self._tries = 0

    def value(self, schema: Any, pointer: str) -> Any:
        """Return a value that validates against the schema. Raises SchemaNotFillable if none is found."""
        for value in self._values(schema, pointer):
            return value
        raise _not_fillable(pointer)

    def _values(self, schema: Any, pointer: str) -> Iterator[Any]:
        """Yield values that validate against the schema, the preferred value first."""
        if schema is False:
            return
        schema = {} if schema is True else schema
        try:
            validator = jsonschema_rs.validator_for(schema, validate_formats=True, offline=True)
        except ValueError:  # not a valid schema
            return
        for candidate in self._candidates(schema, pointer):
            self._tries += 1
            if self._tries > _MAX_TRIES:
                raise _not_fillable(pointer)
            if validator.is_valid(candidate):
                yield candidate

    def _candidates(self, schema: Schema, pointer: str) -> Iterator[Any]:
        if "const" in schema:
            yield schema["const"]
        elif "enum" in schema:
            yield from sorted(schema["enum"], key=lambda value: value != "unknown")
        elif _COMBINED & schema.keys():
            for branch in _branches(schema):
                self._tries += 1
                try:
                    yield from self._candidates(branch, pointer) if isinstance(branch, dict) else ()
                except SchemaNotFillable:
                    if self._tries > _MAX_TRIES:
                        raise
        else:
            for kind in _types(schema):
                yield from self._of_type(kind, schema, pointer)

    def _of_type(self, kind: str, schema: Schema, pointer: str) -> Iterator[Any]:
        match kind:
            case "string":
                return self._texts(schema)
            case "array":
                return self._arrays(schema, pointer)
            case "object":
                return self._objects(schema, pointer)
            case "boolean":
                return iter((False, True))
        return iter((None,)) if kind == "null" else _numbers(schema)

    def _texts(self, schema: Schema) -> Iterator[str]:
        sentence = self._sentence
        least, most = int(schema.get("minLength", 0)), int(schema.get("maxLength", 20_000))
        if least > min(most, 20_000):
            return
        if schema.get("format") in _FORMATS:
            yield _FORMATS[schema["format"]]
        text = " ".join([sentence] * (1 + least // len(sentence))) if least > len(sentence) else sentence
        text = text if len(text) <= most else text[:most].rstrip().ljust(least, ".")
        yield text
        yield from _SAMPLES if "pattern" in schema else ()
        yield from (f"{text[: max(0, most - 7)]} ({number})" for number in range(2, _MAX_ITEMS))

    def _arrays(self, schema: Schema, pointer: str) -> Iterator[list[Any]]:
        first, items = schema.get("prefixItems", ()), schema.get("items", True)
        items = _merge(items, schema["contains"]) if "contains" in schema else items
        count = int(max(schema.get("minItems", 0), schema.get("minContains", "contains" in schema)))
        if _is_free_text(items) and not first:
            count = max(count, min(1, schema.get("maxItems", 1)))
        if count > _MAX_ITEMS:
            return
        values = [self.value(sub, f"{pointer}/{index}") for index, sub in enumerate(first[:count])]
        if len(values) < count and not schema.get("uniqueItems"):
            values += [self.value(items, f"{pointer}/{len(values)}")] * (count - len(values))
        elif len(values) < count:
            for value in self._values(items, f"{pointer}/{len(values)}"):
                values += [value] if value not in values else []
                if len(values) == count:
                    break
        yield values

    def _objects(self, schema: Schema, pointer: str) -> Iterator[Schema]:
        """Yield objects with the required and the free-text properties, then with only the required, then with all."""
        properties, required = schema.get("properties", {}), schema.get("required", ())
        texts = [name for name, sub in properties.items() if _is_free_text(sub)]
        others = schema.get("additionalProperties", True)
        for optional in (texts, (), properties):
            names = [name for name in properties if name in required or name in optional]
            names += [name for name in required if name not in properties]
            yield {name: self.value(properties.get(name, others), f"{pointer}/{name}") for name in names}


def _is_free_text(schema: Any) -> bool:
    kinds = schema.get("type", ()) if isinstance(schema, dict) else ()
    return "string" in kinds and not schema.keys() & {"enum", "const", "pattern", "format", *_COMBINED}


def _types(schema: Schema) -> list[str]:
    """Return the accepted types in order of preference: string if it is free text, then null, then the other types."""
    implied = [kind for kind, keywords in _TYPES.items() if schema.keys() & set(keywords)] or list(_TYPES)
    declared = schema.get("type", implied)
    texts_first = _is_free_text(schema) or "type" not in schema
    kinds = [declared] if isinstance(declared, str) else declared
    return sorted(kinds, key=lambda kind: (kind == "string" and not texts_first, list(_TYPES).index(kind)))


def _numbers(schema: Schema) -> Iterator[int | float]:
    """Yield candidate numbers: 0, numbers between two bounds, then multiples from one bound."""
    bounds = {key: Decimal(str(schema[key])) for key in _TYPES["number"] if key in schema}
    step = bounds.get("multipleOf", Decimal(1))
    lowest = max((bounds[key] for key in ("minimum", "exclusiveMinimum") if key in bounds), default=None)
    highest = min((bounds[key] for key in ("maximum", "exclusiveMaximum") if key in bounds), default=None)
    numbers = [Decimal(0)]
    if lowest is not None and highest is not None:
        numbers += [lowest + (highest - lowest) * eighth / 8 for eighth in range(9)]
    if highest is not None and lowest is None:
        first, step = (highest / step).to_integral_value(ROUND_FLOOR) * step, -step
    else:
        first = ((lowest or Decimal(0)) / step).to_integral_value(ROUND_CEILING) * step
    for number in (*numbers, *(first + step * index for index in range(_MAX_ITEMS))):
        yield int(number) if number == number.to_integral_value() else float(number)


def _branches(schema: Schema) -> Iterator[Any]:
    """Yield a schema for each combination of the branches of `allOf`, `anyOf`, `oneOf` and `if`."""
    base: Any = {key: value for key, value in schema.items() if key not in _COMBINED | {"then", "else"}}
    for sub in schema.get("allOf", ()):
        base = _merge(base, sub)
    for first, second in product(schema.get("anyOf", [True]), schema.get("oneOf", [True])):
        merged = _merge(_merge(base, first), second)
        if "if" in schema:
            yield _merge(_merge(merged, schema["if"]), schema.get("then", True))
            merged = _merge(merged, schema.get("else", True))
        yield merged


def _merge(first: Any, second: Any) -> Any:
    """Merge two schemas into one that requires both. Merging may lose constraints: values are validated later."""
    if first is True or second is False:
        return second
    if second is True or first is False:
        return first
    return {**first, **second, **{key: _both(key, first[key], second[key]) for key in first.keys() & second.keys()}}


def _both(key: str, first: Any, second: Any) -> Any:
    """Merge the values of a keyword. If they cannot be merged, return the second one."""
    if key == "properties":
        return {**first, **second, **{name: _merge(first[name], second[name]) for name in first.keys() & second.keys()}}
    if key in _SUBSCHEMAS:
        return _merge(first, second)
    if key == "type":
        return [kind for kind in _TYPES if kind in first and kind in second] or second
    if key == "enum":
        return [value for value in first if value in second]
    if key in _UNITED:
        return [*first, *(each for each in second if each not in first)]
    if key.startswith(("min", "exclusiveMin")):
        return max(first, second)
    return min(first, second) if key.startswith(("max", "exclusiveMax")) else second
