"""Fill a JSON Schema (draft 2020-12, `$ref` inlined) with the smallest valid values and one sentence as its text.

Values are generated and then validated: where a field has constraints, where schemas are combined, and as a whole.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from itertools import islice, product
from typing import Any

import jsonschema_rs

Schema = dict[str, Any]

_MAX_STEPS = 10_000
_MAX_TEXT = 20_000
_MAX_ITEMS = 1_000
_COMBINED = frozenset({"allOf", "anyOf", "oneOf", "if"})
_UNCONSTRAINED = frozenset({"type", "title", "description", "properties", "required", "items", "additionalProperties"})
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
# A class, an escape, the start of a group, or one character; then a repeat.
_ATOM = re.compile(r"\[(\^?)((?:\\.|[^\]\\[])+)\]|\\([^pPxuUcAzZ0-9])|(\((?:\?:)?)(?!\?)|([^\\\[()|])", re.DOTALL)
_REPEAT = re.compile(r"(?:\{(\d{1,4})(,?)(\d{0,4})\}|([*+?]))?\??")
_ESCAPES = {
    "d": "0",
    "w": "a",
    "s": " ",
    "D": "a",
    "W": " ",
    "S": "a",
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "b": "",
    "B": "",
}


class CannotFill(Exception):
    """No valid value is known for the field at `pointer`, a JSON Pointer."""

    def __init__(self, pointer: str) -> None:
        super().__init__(pointer)
        self.pointer = pointer


def fill(schema: Schema, sentence: str) -> Any:
    """Return a value that `schema` accepts, with `sentence` as its free text. Raises CannotFill."""
    value = _Filler(sentence).value(schema, "")
    error = next(jsonschema_rs.iter_errors(schema, value, validate_formats=True, offline=True), None)
    if error is not None:
        raise CannotFill("".join(f"/{part}" for part in error.instance_path))
    return value


def _accepts(schema: Any, value: Any) -> bool:
    try:
        return bool(jsonschema_rs.is_valid(schema, value, validate_formats=True, offline=True))
    except ValueError:  # not a schema
        return False


class _Filler:
    """One pass over a schema, in a bounded number of steps."""

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence
        self._steps = 0

    def value(self, schema: Any, pointer: str, variant: int = 0) -> Any:
        """Return the valid value number `variant`, or the last there is. Raises CannotFill."""
        self._steps += 1
        if self._steps > _MAX_STEPS or schema is False:
            raise CannotFill(pointer)
        schema = {} if schema is True else schema
        unconstrained = schema.keys() <= _UNCONSTRAINED
        candidates = self._candidates(schema, pointer, variant)
        values = list(islice((each for each in candidates if unconstrained or _accepts(schema, each)), variant + 1))
        if not values:
            raise CannotFill(pointer)
        return values[-1]

    def _candidates(self, schema: Schema, pointer: str, variant: int) -> Iterator[Any]:
        if "const" in schema:
            yield schema["const"]
        elif "enum" in schema:
            yield from sorted(schema["enum"], key=lambda value: value != "unknown")
        elif _COMBINED & schema.keys():
            for branch, number in product(_branches(schema), range(variant + 3)):
                try:
                    yield self.value(branch, pointer, number)
                except CannotFill:
                    if self._steps > _MAX_STEPS:
                        raise
        else:
            for kind in _types(schema):
                if kind in ("integer", "number"):
                    yield from _numbers(schema, variant)
                elif kind in ("null", "boolean"):
                    yield from (None,) if kind == "null" else (False, True)
                else:
                    yield from {"string": self._texts, "array": self._arrays, "object": self._objects}[kind](
                        schema, pointer, variant
                    )

    def _texts(self, schema: Schema, pointer: str, variant: int) -> Iterator[str]:
        least, most = int(schema.get("minLength", 0)), int(min(schema.get("maxLength", _MAX_TEXT), _MAX_TEXT))
        if least > most:
            raise CannotFill(pointer)
        if schema.get("format") in _FORMATS:
            yield _FORMATS[schema["format"]]
        text = " ".join([self._sentence] * (1 + least // len(self._sentence)))
        text = self._sentence if least <= len(self._sentence) <= most else text[:most].rstrip().ljust(least, ".")
        yield text
        for repeats in (1, least, most) if "pattern" in schema else ():
            yield from _matching(schema["pattern"], repeats)
        for number in range(2, variant + 2):
            yield f"{text[: max(0, most - 7)]} ({number})"

    def _arrays(self, schema: Schema, pointer: str, variant: int) -> Iterator[list[Any]]:
        first, items = schema.get("prefixItems", ()), schema.get("items", True)
        items = _merge(items, schema["contains"]) if "contains" in schema else items
        count = int(max(schema.get("minItems", 0), schema.get("minContains", "contains" in schema)))
        count = max(count, 1) if _is_free_text(items) and not first else count
        if count > _MAX_ITEMS:
            raise CannotFill(pointer)
        values: list[Any] = []
        for number in range(count + _MAX_ITEMS):
            if len(values) == min(count, schema.get("maxItems", count)):
                break
            sub = first[len(values)] if len(values) < len(first) else items
            value = self.value(sub, f"{pointer}/{len(values)}", variant + number * schema.get("uniqueItems", False))
            if value not in values or not schema.get("uniqueItems"):
                values.append(value)
        yield values

    def _objects(self, schema: Schema, pointer: str, variant: int) -> Iterator[Schema]:
        properties, required = schema.get("properties", {}), schema.get("required", ())
        texts = [name for name, sub in properties.items() if _is_free_text(sub) and name not in required]
        least = int(min(schema.get("minProperties", 0), _MAX_ITEMS))
        spare = [*properties, *(f"property{number}" for number in range(least))]
        for optional, extra in ((texts, ()), ((), ()), (texts, spare)):
            names = [name for name in properties if name in required or name in optional]
            names += [name for name in required if name not in properties]
            value: Schema = {}
            while names or (extra and len(value) < least):
                name = names.pop(0) if names else next(each for each in extra if each not in value)
                value[name] = self.value(_property(schema, name), f"{pointer}/{name}", variant)
                names += [each for each in schema.get("dependentRequired", {}).get(name, ()) if each not in value]
            yield value


def _property(schema: Schema, name: str) -> Any:
    """Return the schema of a property."""
    if name in schema.get("properties", {}):
        return schema["properties"][name]
    patterns = schema.get("patternProperties", {})
    matching = (sub for pattern, sub in patterns.items() if _accepts({"pattern": pattern}, name))
    return next(matching, schema.get("additionalProperties", True))


def _is_free_text(schema: Any) -> bool:
    kinds = schema.get("type", ()) if isinstance(schema, dict) else ()
    special = {"enum", "const", "pattern", "format", *_COMBINED}
    return ("string" in kinds) and not schema.keys() & special


def _types(schema: Schema) -> list[str]:
    """Return the types in the order of preference: free text, then null where it is allowed."""
    implied = [kind for kind, keywords in _TYPES.items() if schema.keys() & set(keywords)] or list(_TYPES)
    declared = schema.get("type", implied)
    texts_first = _is_free_text(schema) or "type" not in schema
    kinds = [declared] if isinstance(declared, str) else declared
    return sorted(kinds, key=lambda kind: (kind == "string" and not texts_first, list(_TYPES).index(kind)))


def _numbers(schema: Schema, variant: int) -> Iterator[int | float]:
    """Yield numbers that may be valid, the smallest first."""
    step = Decimal(str(schema.get("multipleOf", 1)))
    lowest = max((Decimal(str(schema[key])) for key in ("minimum", "exclusiveMinimum") if key in schema), default=None)
    highest = min((Decimal(str(schema[key])) for key in ("maximum", "exclusiveMaximum") if key in schema), default=None)
    start = lowest if lowest is not None else min(Decimal(0), highest or Decimal(0))
    numbers = [Decimal(0)] if variant == 0 else []
    numbers += [((start / step).to_integral_value("ROUND_CEILING") + number) * step for number in range(variant + 2)]
    if lowest is not None and highest is not None:
        numbers += [lowest + (highest - lowest) * number / 8 for number in range(9)]
    elif highest is not None:
        numbers += [
            ((highest / step).to_integral_value("ROUND_FLOOR") - number) * step for number in range(variant + 2)
        ]
    for number in numbers:
        yield int(number) if number == number.to_integral_value() else float(number)


def _matching(pattern: str, repeats: int) -> Iterator[str]:
    """Yield a text that should match, if one can be written; the pattern itself is never run.

    Open repeats are taken `repeats` times. Handles literals, classes, groups, alternatives, repeats and anchors.
    """
    texts, at = [""], 0
    while at < len(pattern):
        if pattern[at] == ")" and len(texts) > 1:
            atom, at = texts.pop(), at + 1
        elif pattern[at] == "|":
            at = _end_of_group(pattern, at)
            continue
        elif match := _ATOM.match(pattern, at):
            at = match.end()
            negated, members, escape, group, character = match.groups()
            if group:
                texts.append("")
                continue
            atom = {"^": "", "$": "", ".": "a"}.get(character, character) if character else _ESCAPES.get(escape, escape)
            atom = _member(members, bool(negated)) if members else atom
        else:
            return
        repeat = _REPEAT.match(pattern, at)
        assert repeat is not None
        at = repeat.end()
        least = int(repeat[1] or {"+": 1, None: 1}.get(repeat[4], 0))
        is_open = repeat[4] in ("*", "+") or (repeat[2] and not repeat[3])
        texts[-1] += atom * (max(least, repeats) if is_open else least)
        if len(texts[-1]) > _MAX_TEXT:
            return
    if len(texts) == 1:
        yield texts[0]


def _end_of_group(pattern: str, at: int) -> int:
    """Return where the group around `at` ends: its first alternative has been taken."""
    depth = 0
    while at < len(pattern):
        if pattern[at] == ")" and depth == 0:
            return at
        match = _ATOM.match(pattern, at)
        depth += (pattern[at] == "(") - (pattern[at] == ")")
        at = match.end() if match else at + 1
    return at


def _member(members: str, negated: bool) -> str:
    """Return a character of a class, or one outside of a negated one."""
    found = _ESCAPES.get(members[1], members[1]) if members[0] == "\\" else members[0]
    if not negated:
        return found
    return next((each for each in "a0 -_A#" if _accepts({"pattern": f"^[^{members}]$"}, each)), "\u2603")


def _branches(schema: Schema) -> Iterator[Any]:
    """Yield the schema without combining keywords, once for every way to satisfy them."""
    base: Any = {key: value for key, value in schema.items() if key not in _COMBINED}
    for sub in schema.get("allOf", ()):
        base = _merge(base, sub)
    for first, second in product(schema.get("anyOf", [True]), schema.get("oneOf", [True])):
        merged = _merge(_merge(base, first), second)
        if "if" in schema:
            yield _merge(_merge(merged, schema["if"]), schema.get("then", True))
        yield _merge(merged, schema.get("else", True)) if "if" in schema else merged


def _merge(first: Any, second: Any) -> Any:
    """Return a schema that asks for both where one schema can; the result is validated against the original."""
    if first is True or second is False:
        return second
    if second is True or first is False:
        return first
    both = {key: _both(key, first[key], second[key]) for key in first.keys() & second.keys()}
    return {**first, **second, **both}


def _both(key: str, first: Any, second: Any) -> Any:
    if key in ("properties", "patternProperties"):
        return {**first, **second, **{name: _merge(first[name], second[name]) for name in first.keys() & second.keys()}}
    if key in ("items", "additionalProperties", "contains"):
        return _merge(first, second)
    if key == "enum":
        return [value for value in first if value in second]
    if key == "type":
        return [kind for kind in _TYPES if kind in first and kind in second] or second
    if key in ("required", "anyOf", "oneOf", "allOf"):
        return [*first, *(each for each in second if each not in first)]
    if key.startswith(("min", "exclusiveMin")):
        return max(first, second)
    return min(first, second) if key.startswith(("max", "exclusiveMax")) else second
