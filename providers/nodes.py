"""A schema's nodes: one generic walk, and the small rewrites that the dialects are made of.

Every rewrite takes a node and gives a new one; nothing is changed in place and the order of keys is kept.
"""

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from providers.base import JsonObject

_SENTENCES: Mapping[str, str] = {
    "minLength": "Minimum length in characters: {}.",
    "maxLength": "Maximum length in characters: {}.",
    "pattern": "Must match the regular expression {}",
    "format": "Format: {}.",
    "minItems": "Minimum number of items: {}.",
    "maxItems": "Maximum number of items: {}.",
    "uniqueItems": "No item twice.",
    "minimum": "Minimum: {}.",
    "maximum": "Maximum: {}.",
    "exclusiveMinimum": "Greater than {}.",
    "exclusiveMaximum": "Less than {}.",
    "multipleOf": "A multiple of {}.",
    "const": "Always {}.",
    "enum": "One of: {}.",
    "default": "Usually {}.",
    "examples": "For example: {}.",
}
BOUNDS = frozenset(_SENTENCES) - {"const", "enum", "default", "examples"}
RANGE = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_SILENT = frozenset({"$schema", "$id", "$comment", "title", "deprecated"})
OWN_WORDS: Mapping[str, frozenset[str]] = {
    "string": frozenset({"pattern", "format", "minLength", "maxLength"}),
    "number": RANGE | {"multipleOf"},
    "integer": RANGE | {"multipleOf"},
    "array": frozenset({"items", "minItems", "maxItems", "uniqueItems"}),
    "object": frozenset({"properties", "required", "additionalProperties"}),
}
_UNSET = object()


def walk(schema: JsonObject, visit: Callable[[JsonObject], JsonObject]) -> JsonObject:
    """Visit a node, then what the visit left below it; the order of keys is kept."""
    node = visit(schema)
    for word, value in node.items():
        if word == "properties":
            node = {**node, word: {name: walk(subschema(child), visit) for name, child in value.items()}}
        elif word == "anyOf":
            node = {**node, word: [walk(subschema(child), visit) for child in value]}
        elif word in ("items", "additionalProperties") and isinstance(value, dict):
            node = {**node, word: walk(value, visit)}
    return node


def subschema(value: object) -> JsonObject:
    """A subschema; `true` and nothing at all say no more than an empty one."""
    return value if isinstance(value, dict) else {}


def types(node: JsonObject) -> frozenset[str]:
    """The types a node names, none if it leaves them open."""
    named = node.get("type", ())
    return frozenset({named} if isinstance(named, str) else named)


def nullable(node: JsonObject) -> bool:
    """Whether null is valid here."""
    if "anyOf" in node:
        return any(nullable(subschema(branch)) for branch in node["anyOf"])
    if "enum" in node or "const" in node:
        return None in node.get("enum", [node.get("const")])
    return "type" not in node or "null" in types(node)


def is_open(node: JsonObject) -> bool:
    """An object that names no properties: a map from free keys to values."""
    return "object" in types(node) and not node.get("properties")


def without(node: JsonObject, words: Collection[str]) -> JsonObject:
    """The node without these keywords."""
    return {word: value for word, value in node.items() if word not in words}


def plain(node: JsonObject) -> JsonObject:
    """The node with its annotations as a description, and without those that are for other readers."""
    return say(without(node, _SILENT), {"default", "examples"})


def say(node: JsonObject, unsaid: Collection[str]) -> JsonObject:
    """Say these keywords in the description instead."""
    moved = [word for word in node if word in unsaid]
    sentences = [_sentence(word, node[word]) for word in moved if node[word] is not False]
    return described(without(node, moved), sentences)


def _sentence(word: str, value: Any) -> str:
    values = value if word in ("enum", "examples") else [value]
    bare = word in ("pattern", "format")
    return _SENTENCES[word].format(", ".join(v if bare else json.dumps(v, ensure_ascii=False) for v in values))


def described(node: JsonObject, sentences: list[str]) -> JsonObject:
    """Add sentences to the description."""
    if not sentences:
        return node
    said = str(node.get("description", "")).strip()
    if said and said[-1] not in ".!?:;":
        said += "."
    return {**node, "description": " ".join([said, *sentences]).strip()}


def known_format(node: JsonObject, known: frozenset[str]) -> JsonObject:
    """Keep a format that is known, say any other."""
    return node if node.get("format") in known else say(node, {"format"})


def closed(node: JsonObject) -> JsonObject:
    """Close an object that does not say whether it is open."""
    if not node.get("properties") or "additionalProperties" in node:
        return node
    return {**node, "additionalProperties": False}


def const_as_enum(node: JsonObject) -> JsonObject:
    """Write a constant as an enum of one."""
    value = node.get("const", _UNSET)
    return node if value is _UNSET else {**without(node, {"const"}), "enum": [value]}


def _json_type(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names[type(value)]


def typed(node: JsonObject) -> JsonObject:
    """Give a node without a type the type that its other words imply; a free value becomes a scalar."""
    if "type" in node or "anyOf" in node:
        return node
    if "enum" in node or "const" in node:
        named = list(dict.fromkeys(_json_type(value) for value in node.get("enum", [node.get("const")])))
        named = [kind for kind in named if kind != "integer" or "number" not in named]
    else:
        named = [kind for kind, words in OWN_WORDS.items() if words & node.keys() and kind != "integer"]
        named = named or ["string", "number", "boolean", "null"]
    return {"type": named[0] if len(named) == 1 else named, **node}


def split_types(node: JsonObject) -> JsonObject:
    """Write several types as an `anyOf` of one type each; a type and null may stay together."""
    kinds = [node.get("type")] if isinstance(node.get("type"), str) else list(node.get("type", ()))
    if len([kind for kind in kinds if kind != "null"]) < 2:
        return node
    own = frozenset().union(*OWN_WORDS.values())
    rest = without(node, own | {"type", "enum"})
    branches = [_only(node, str(kind)) for kind in kinds]
    return {**rest, "anyOf": [branch for branch in branches if branch.get("enum", True)]}


def _only(node: JsonObject, kind: str) -> JsonObject:
    """The part of a node that speaks of one type."""
    words = {word: value for word, value in node.items() if word in OWN_WORDS.get(kind, ())}
    if "enum" in node:
        fits = {kind, "integer"} if kind == "number" else {kind}
        words["enum"] = [value for value in node["enum"] if _json_type(value) in fits]
    return {"type": kind, **words}
