"""Normalise a user's JSON Schema to draft 2020-12 with every `$ref` inlined, and enforce limits.

Keywords of Draft 7 are translated. Remote and recursive references, unknown keywords, invalid values, and schemas that
are too large or too expensive to check are rejected.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

from perspectives import keywords, patterns
from perspectives.errors import MAX_PROBLEMS, InvalidPerspective, Problem, below, shortened, suggestion
from perspectives.json_values import JsonObject, items

MAX_NODES = 5_000  # maximum number of subschemas after references are inlined
MAX_DEPTH = 32  # maximum nesting of subschemas, including references
MAX_LEAST = 100_000  # maximum number of values and characters in the smallest answer that the schema accepts

FORMATS = frozenset(
    {
        *("date", "time", "date-time", "duration", "email", "idn-email", "hostname", "idn-hostname"),
        *("ipv4", "ipv6", "uri", "uri-reference", "iri", "iri-reference", "uri-template", "uuid"),
        *("json-pointer", "relative-json-pointer", "regex"),
    }
)
"""Formats that are validated. Other formats are accepted, but only shown to the model."""

_HINTS = {"nullable": 'Write "type": ["…", "null"].', "$recursiveRef": "Write $ref.", "id": "Write $id."}
_OBJECT_VALUE_COST = 20  # comparing one value inside an object or list takes as long as checking 20 subschemas
_UNIQUE_ITEMS_COST = 4


def normalise(schema: Any) -> tuple[JsonObject, int, tuple[Problem, ...]]:
    """Normalise a plain JSON Schema. Return it, its weight, and warnings for the author.

    The weight is the estimated number of subschemas and pattern states checked per value. Raises InvalidPerspective
    with every mistake (at most 20).
    """
    reader = _Reader(schema)
    node = reader.read(schema, _Place())
    if not reader.problems:
        node = _as_object(node, reader)
    if not reader.problems and _least(node) > MAX_LEAST:
        reader.reject("", "Demands too large an answer: lower minItems and minLength.")
    if reader.problems:
        raise InvalidPerspective(reader.problems)
    return node, reader.weight, tuple(reader.warnings)


def _as_object(node: JsonObject, reader: "_Reader") -> JsonObject:
    types = node.get("type", "object")
    if "object" not in ([types] if isinstance(types, str) else types):
        reader.reject("/type", "The root must be of type object.")
    elif node.keys() <= keywords.ANNOTATIONS | {"type"} or node.get("properties") == {}:
        reader.reject("", "The schema is empty: give the root at least one property.")
    return _ordered({**node, "type": "object"})


@dataclass(frozen=True, slots=True)
class _Place:
    """The position of a subschema. `refs`: pointers of the references that were followed.

    `branching`: several subschemas may apply to one value. `factor`: how often each is checked.
    """

    pointer: str = ""
    depth: int = 0
    refs: tuple[str, ...] = ()
    branching: bool = False
    factor: int = 1

    def at(self, token: str | int) -> "_Place":
        return replace(self, pointer=below(self.pointer, token))


class _Reader:
    """Normalise one schema, and record mistakes and the cost of validation."""

    def __init__(self, root: Any) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.weight = 1
        self._root = root
        self._anchors = dict(_anchors(root))
        self._nodes = 0
        self._compile_cost = 0

    def reject(self, pointer: str, message: str) -> None:
        """Record a mistake if it is new. Raises InvalidPerspective if there are MAX_PROBLEMS mistakes."""
        problem = Problem(pointer, message)
        if problem not in self.problems:
            self.problems.append(problem)
        if len(self.problems) >= MAX_PROBLEMS:
            raise InvalidPerspective(self.problems)

    def read(self, schema: Any, place: _Place) -> JsonObject:
        self._count_node(place)
        if isinstance(schema, bool):
            return {} if schema else {"not": {}}
        if not isinstance(schema, dict):
            self.reject(place.pointer, "Must be a schema: an object, true or false.")
            return {}
        if place.depth > MAX_DEPTH:
            self.reject(place.pointer, f"Is nested more than {MAX_DEPTH} levels deep.")
            return {}
        node: JsonObject = {}
        for written, word, value in _modern(schema):
            pointer = below(place.pointer, written)
            if word not in keywords.KEYWORDS:
                self._check_unknown(word, pointer)
            elif problem := keywords.value_problem(word, value, pointer):
                self.reject(problem.pointer, problem.message)
            else:
                value = self._subschemas(word, value, self._inner(word, value, schema, place, pointer))
                self._check_value(word, value, pointer)
                node[word] = {**node[word], **value} if word in node and isinstance(value, dict) else value
        if node.get("additionalProperties") is False and "patternProperties" not in node:
            for name in set(node.get("required", ())) - node.get("properties", {}).keys():
                message = f"Demands '{shortened(name)}', which is not in properties: no answer can match."
                self.warnings.append(Problem(below(place.pointer, "required"), message))
        return _ordered(_flat(self._with_reference(node, schema, place)))

    def _count_node(self, place: _Place) -> None:
        self._nodes += 1
        self.weight += place.factor if place.branching else 0
        if self._nodes > MAX_NODES:
            message = f"The schema is too large: more than {MAX_NODES:,} subschemas once references are inlined."
            raise InvalidPerspective([*self.problems[: MAX_PROBLEMS - 1], Problem("", message)])

    def _check_unknown(self, word: str, pointer: str) -> None:
        if word in keywords.DROPPED or word.startswith("x-"):
            return
        hint = _HINTS.get(word) or suggestion(word, keywords.KEYWORDS, cutoff=0.8).strip() or "Remove it."
        self.reject(pointer, f"Is not a keyword of JSON Schema draft 2020-12. {hint}")

    def _inner(self, word: str, value: Any, schema: JsonObject, place: _Place, pointer: str) -> _Place:
        """Return the place of the subschemas in the value of a keyword."""
        unevaluated = {"unevaluatedProperties", "unevaluatedItems"} & schema.keys()
        alone = isinstance(value, list) and len(value) - value.count({"type": "null"}) == 1
        return replace(
            place,
            pointer=pointer,
            depth=place.depth + 1,
            branching=place.branching or (word in keywords.BRANCHING and not (alone and word in keywords.IN_PLACE)),
            # unevaluatedProperties and unevaluatedItems check these branches again
            factor=place.factor * (3 if unevaluated and word in keywords.IN_PLACE else 1),
        )

    def _subschemas(self, word: str, value: Any, place: _Place) -> Any:
        if word in keywords.SCHEMA_MAPS:
            return {name: self.read(inner, place.at(name)) for name, inner in value.items()}
        if word in keywords.SCHEMA_LISTS:
            return [self.read(inner, place.at(index)) for index, inner in enumerate(value)]
        if word not in keywords.SCHEMAS or (isinstance(value, bool) and word in keywords.BOOLEANS):
            return value
        node = self.read(value, place)
        return node or True if word == "additionalProperties" else node

    def _check_value(self, word: str, value: Any, pointer: str) -> None:
        if word == "pattern":
            self._check_pattern(value, pointer)
        elif word == "patternProperties":
            for pattern in value:
                self._check_pattern(pattern, below(pointer, pattern))
        elif word in ("enum", "const") and isinstance(value, dict | list):
            choices = value if word == "enum" else [value]
            self.weight += sum(_OBJECT_VALUE_COST * _size(choice) for choice in choices if _size(choice) > 1)
        elif word == "uniqueItems":
            self.weight += _UNIQUE_ITEMS_COST if value else 0
        elif word == "format" and value not in FORMATS:
            self.warnings.append(Problem(pointer, "Is not a format that is checked; the model is told of it."))

    def _check_pattern(self, pattern: str, pointer: str) -> None:
        try:
            self._compile_cost += patterns.compile_cost(pattern)
        except ValueError as error:
            self.reject(pointer, str(error))
            return
        self.weight += patterns.match_cost(pattern)
        if self._compile_cost > patterns.MAX_COMPILE_COST:
            raise InvalidPerspective([*self.problems, Problem(pointer, "The patterns of the schema are too large.")])

    def _with_reference(self, node: JsonObject, schema: JsonObject, place: _Place) -> JsonObject:
        """Inline `$ref`. If the schema has other constraints, the target becomes an entry of allOf."""
        word = next((word for word in ("$ref", "$dynamicRef") if word in schema), None)
        if word is None:
            return node
        pointer = below(place.pointer, word)
        try:
            at, referenced = _target(self._root, schema[word], self._anchors)
        except LookupError as error:
            self.reject(pointer, str(error))
            return node
        if at in (*place.refs, ""):
            self.reject(pointer, "Is recursive: a schema cannot contain itself.")
            return node
        inner = self.read(referenced, replace(place, pointer=at, depth=place.depth + 1, refs=(*place.refs, at)))
        if node.keys() <= keywords.ANNOTATIONS:
            return {**inner, **node}
        return {**node, "allOf": [*node.get("allOf", ()), inner]}


def _modern(schema: JsonObject) -> Iterator[tuple[str, str, Any]]:
    """Yield each keyword as written, its equivalent in draft 2020-12, and its value in draft 2020-12."""
    tuples = isinstance(schema.get("items"), list)
    for word, value in schema.items():
        if word == "items" and tuples:
            if value:
                yield word, "prefixItems", value
        elif word == "additionalItems":
            if tuples:
                yield word, "items", value
        elif word == "dependencies" and isinstance(value, dict):
            names = {name: entry for name, entry in value.items() if isinstance(entry, list)}
            if names:
                yield word, "dependentRequired", names
            if len(names) < len(value):
                yield word, "dependentSchemas", {name: value[name] for name in value if name not in names}
        else:
            yield word, word, value


def _flat(node: JsonObject) -> JsonObject:
    """If a node has only annotations and an allOf of one entry, merge the entry into the node."""
    entries = node.get("allOf", ())
    if len(entries) == 1 and node.keys() - {"allOf"} <= keywords.ANNOTATIONS:
        return {**entries[0], **{word: value for word, value in node.items() if word != "allOf"}}
    return node


def _ordered(node: JsonObject) -> JsonObject:
    if isinstance(node.get("type"), list):
        types = sorted(node["type"], key=lambda name: bool(name == "null"))
        node = {**node, "type": types[0] if len(types) == 1 else types}
    return {word: node[word] for word in keywords.KEYWORDS if word in node}


def _size(value: Any) -> int:
    return 1 + sum(_size(item) for _, item in items(value))


def _least(node: JsonObject) -> int:
    """Return the size of the smallest answer that has every property, as a number of values and characters."""
    size = 1 + int(node.get("minLength", 0))
    size += sum(_least(inner) for word in ("properties", "dependentSchemas") for inner in node.get(word, {}).values())
    size += sum(_least(inner) for word in ("allOf", "prefixItems") for inner in node.get(word, ()))
    size += sum(max(map(_least, node[word])) for word in ("anyOf", "oneOf") if word in node)
    items = node.get("items")
    return size + int(node.get("minItems", 0)) * (_least(items) if isinstance(items, dict) else 1)


def _target(root: Any, reference: Any, anchors: dict[str, str]) -> tuple[str, Any]:
    """Return the JSON Pointer and the schema of a local reference. Raises LookupError with a sentence."""
    if not isinstance(reference, str):
        raise LookupError("Must be text: a reference such as #/$defs/name.")
    identifier = root.get("$id")
    if isinstance(identifier, str) and identifier:
        reference = reference.removeprefix(identifier.rstrip("#"))
    if reference and not reference.startswith("#"):
        raise LookupError("Only references into the same schema are supported, such as #/$defs/name.")
    pointer = unquote(reference[1:])
    if pointer and not pointer.startswith("/"):
        if pointer not in anchors:
            raise LookupError("Names an anchor that does not exist.")
        pointer = anchors[pointer]
    node = root
    for token in pointer.split("/")[1:]:
        token = token.replace("~1", "/").replace("~0", "~")
        if isinstance(node, list) and token.isdecimal() and int(token[:9]) < len(node):
            node = node[int(token[:9])]
        elif isinstance(node, dict) and token in node:
            node = node[token]
        else:
            raise LookupError("Names a place in the schema that does not exist.")
    return pointer, node


def _anchors(value: Any, pointer: str = "") -> Iterator[tuple[str, str]]:
    """Yield each anchor below a value, with its JSON Pointer."""
    if isinstance(value, dict):
        names = value.get("$anchor"), value.get("$dynamicAnchor"), str(value.get("$id", "")).removeprefix("#")
        yield from ((name, pointer) for name in names if isinstance(name, str) and name)
    for token, item in items(value):
        yield from _anchors(item, f"{pointer}/{str(token).replace('~', '~0').replace('/', '~1')}")
