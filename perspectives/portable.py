"""A JSON Schema as someone wrote it -> the portable schema: checked word by word, `$ref`s put in place.

The portable schema uses only kept words of `perspectives.keywords`, always in the same order, and reading it
again gives it again.
"""

from difflib import get_close_matches
from typing import Any

from perspectives import limits, patterns
from perspectives.constraints import CHECKS, contradictions, type_of
from perspectives.errors import InvalidPerspective, Problem, below
from perspectives.keywords import ANNOTATIONS, INSTEAD, KEYWORDS
from perspectives.plain import JsonObject
from perspectives.references import resolved


def portable(schema: Any) -> JsonObject:
    """The portable form of a plain JSON Schema. Raises InvalidPerspective with every problem (at most 20)."""
    reading = _Reading(schema)
    node = reading.node(schema, "", 0, 0)
    if not reading.problems:
        reading.problems += _root_problems(node)
    if reading.problems:
        raise InvalidPerspective(reading.problems)
    return node


def _root_problems(node: JsonObject) -> list[Problem]:
    if node.get("type") != "object":
        return [Problem("/type" if "type" in node else "", "The root must be of type object.")]
    if not node.get("properties"):
        return [Problem("", "The schema is empty: give the root at least one property.")]
    if _least(node) > limits.MAX_LEAST:
        return [Problem("", "Demands too large an answer: lower minItems and minLength.")]
    return []


class _Reading:
    """One pass over a schema: what is wrong so far, and what it has cost."""

    def __init__(self, root: Any) -> None:
        self.problems: list[Problem] = []
        self._root = root
        self._spent = {"places": 0, "properties": 0, "enum values": 0, "pattern cost": 0}

    def node(self, given: Any, pointer: str, depth: int, unions: int, refs: tuple[str, ...] = ()) -> JsonObject:
        """The portable form of one place; {} where something is wrong."""
        self._spend("places", 1, limits.MAX_NODES)
        if given is True:
            return {}
        if not isinstance(given, dict):
            return self._refuse(pointer, "Must be a schema: an object.")
        if depth > limits.MAX_DEPTH:
            return self._refuse(pointer, f"Is nested more than {limits.MAX_DEPTH} levels deep.")
        unknown = [word for word in given if word not in KEYWORDS]
        for word in unknown:
            self._refuse(below(pointer, word), _unsupported(word))
        target = resolved(given, pointer, self._root, refs)
        if isinstance(target, Problem):
            return self._refuse(target.pointer, target.message)
        if target is not None:
            inner = self.node(target.node, target.pointer, depth, unions, (*refs, *target.refs))
            return _ordered({**inner, **{word: given[word] for word in given if word in ANNOTATIONS}})
        if not self._values_are_fine(given, pointer):
            return {}
        return self._read(given, pointer, depth, unions, refs)

    def _read(self, given: JsonObject, pointer: str, depth: int, unions: int, refs: tuple[str, ...]) -> JsonObject:
        node = {word: given[word] for word in given if word in KEYWORDS and KEYWORDS[word].kept}
        if "anyOf" in node:
            return self._any_of(node, pointer, depth, unions, refs)
        types = _types(node)
        self._check_words(node, types, pointer)
        self.problems += contradictions(node, types, pointer)
        if types and "type" not in node:
            node["type"] = types[0] if len(types) == 1 else list(types)
        self._spend("enum values", len(node.get("enum", ())), limits.MAX_ENUM)
        self._spend("pattern cost", patterns.cost(node.get("pattern", "")), limits.MAX_PATTERN_COST)
        if "array" in types and "items" in node:
            node["items"] = self.node(node["items"], below(pointer, "items"), depth + 1, unions, refs)
        if "object" in types:
            self._object(node, pointer, depth, unions, refs)
        return _ordered(node)

    def _any_of(self, node: JsonObject, pointer: str, depth: int, unions: int, refs: tuple[str, ...]) -> JsonObject:
        branches = node["anyOf"]
        for word in [word for word in node if word not in ANNOTATIONS and word != "anyOf"]:
            self._refuse(below(pointer, word), "Stands beside anyOf; write it in each alternative.")
        if not isinstance(branches, list) or not 1 <= len(branches) <= limits.MAX_BRANCHES:
            return self._refuse(below(pointer, "anyOf"), f"Must be a list of 1 to {limits.MAX_BRANCHES} schemas.")
        if unions >= limits.MAX_UNIONS:
            return self._refuse(
                below(pointer, "anyOf"), f"More than {limits.MAX_UNIONS} anyOf stand inside each other."
            )
        node["anyOf"] = [
            self.node(branch, below(pointer, "anyOf", index), depth, unions + 1, refs)
            for index, branch in enumerate(branches)
        ]
        return _ordered(node)

    def _object(self, node: JsonObject, pointer: str, depth: int, unions: int, refs: tuple[str, ...]) -> None:
        properties = node.get("properties", {})
        if not isinstance(properties, dict):
            self._refuse(below(pointer, "properties"), "Must be an object of schemas by name.")
            return
        self._spend("properties", len(properties), limits.MAX_FIELDS)
        for name in properties:
            if not 0 < len(name) <= limits.MAX_NAME:
                self._refuse(below(pointer, "properties", name), f"A name has 1 to {limits.MAX_NAME} characters.")
        for index, name in enumerate(node.get("required", [])):
            if name not in properties:
                self._refuse(below(pointer, "required", index), "Names a property that is not in properties.")
        node["properties"] = {
            name: self.node(inner, below(pointer, "properties", name), depth + 1, unions, refs)
            for name, inner in properties.items()
        }
        if not properties:
            del node["properties"]
        self._additional(node, pointer, depth, unions, refs)

    def _additional(self, node: JsonObject, pointer: str, depth: int, unions: int, refs: tuple[str, ...]) -> None:
        if "additionalProperties" not in node:
            if "properties" not in node:
                node["additionalProperties"] = True
            return
        others = node["additionalProperties"]
        if not isinstance(others, bool):
            node["additionalProperties"] = (
                self.node(others, below(pointer, "additionalProperties"), depth + 1, unions, refs) or True
            )

    def _values_are_fine(self, given: JsonObject, pointer: str) -> bool:
        before = len(self.problems)
        for word, check in CHECKS.items():
            complaint = check(given[word]) if word in given else None
            if complaint:
                self._refuse(below(pointer, word), complaint)
        return len(self.problems) == before

    def _check_words(self, node: JsonObject, types: tuple[str, ...], pointer: str) -> None:
        for word in node:
            needed = KEYWORDS[word].applies_to
            if needed and not types:
                self._refuse(below(pointer, word), f'Needs "type": "{needed[0]}" beside it.')
            elif needed and not set(needed) & set(types):
                self._refuse(below(pointer, word), f"Is for type {' and '.join(needed)}, not {' or '.join(types)}.")

    def _spend(self, what: str, amount: int, limit: int) -> None:
        self._spent[what] += amount
        if self._spent[what] > limit:
            raise InvalidPerspective([*self.problems, Problem("", f"The schema is too large: {what} over {limit:,}.")])

    def _refuse(self, pointer: str, message: str) -> JsonObject:
        problem = Problem(pointer, message)
        if problem not in self.problems:
            self.problems.append(problem)
        if len(self.problems) >= limits.MAX_PROBLEMS:
            raise InvalidPerspective(self.problems)
        return {}


def _unsupported(word: str) -> str:
    near = get_close_matches(word[:40], KEYWORDS, n=1, cutoff=0.8)
    hint = INSTEAD.get(word) or (f"Did you mean {near[0]}?" if near else "It could not be kept with every provider.")
    return f"This keyword is not supported. {hint}"


def _types(node: JsonObject) -> tuple[str, ...]:
    """The stated types, "null" last; for enum and const without a type, the one that their values have."""
    if "type" in node:
        stated = node["type"] if isinstance(node["type"], list) else [node["type"]]
        return tuple(sorted(stated, key=lambda word: bool(word == "null")))
    values = node.get("enum", [node["const"]] if "const" in node else [])
    found = {type_of(value) for value in values}
    if "number" in found:
        found.discard("integer")
    types = tuple(sorted(found, key=lambda word: (word == "null", word)))
    return types if len(types) == 1 or (len(types) == 2 and types[1] == "null") else ()


def _ordered(node: JsonObject) -> JsonObject:
    return {word: node[word] for word in KEYWORDS if word in node}


def _least(node: JsonObject) -> int:
    """How many values and characters an answer needs that fills every property as briefly as it may."""
    size = 1 + int(node.get("minLength", 0))
    size += sum(_least(inner) for inner in node.get("properties", {}).values())
    size += max((_least(branch) for branch in node.get("anyOf", [])), default=0)
    return size + int(node.get("minItems", 0)) * (_least(node["items"]) if "items" in node else 1)
