"""Functions that rewrite one subschema (a node) to a new node, and `walk`, which applies them to all subschemas."""

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
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
    "minProperties": "Minimum number of properties: {}.",
    "maxProperties": "Maximum number of properties: {}.",
    "const": "Always {}.",
    "enum": "One of: {}.",
    "default": "Usually {}.",
    "examples": "For example: {}.",
}
BOUNDS = frozenset(_SENTENCES) - {"const", "enum", "default", "examples"}
RANGE = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
OWN_KEYWORDS: Mapping[str, frozenset[str]] = {
    "string": frozenset({"pattern", "format", "minLength", "maxLength"}),
    "number": RANGE | {"multipleOf"},
    "integer": RANGE | {"multipleOf"},
    "array": frozenset({"items", "minItems", "maxItems", "uniqueItems"}),
    "object": frozenset({"properties", "required", "additionalProperties"}),
}
_TYPE_NAMES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
_TYPE_NAMES[type(None)] = "null"
_TYPED = frozenset[str]().union(*OWN_KEYWORDS.values())
_SILENT = frozenset({"title", "deprecated", "readOnly", "writeOnly", "contentEncoding", "contentMediaType"})
_COMPLEX = frozenset(
    {
        *("oneOf", "allOf", "not", "if", "then", "else", "patternProperties", "propertyNames", "dependentRequired"),
        *("dependentSchemas", "unevaluatedProperties", "unevaluatedItems", "prefixItems"),
        *("contains", "minContains", "maxContains"),
    }
)
"""Keywords that no provider enforces reliably. They are moved into the description as JSON."""
_LONGEST = 4_000  # characters of JSON in one description
_SHAPE = frozenset({"properties", "items", "enum", "const"})

_PORTABLE_PATTERN = re.compile(
    r"""(?:
        [^\\\[\](){}|?*+^$]                                   # a literal, or any character
      | \\(?:[dDwWsSnrtfv]|[^a-zA-Z0-9\s])                    # \d \w \s, an escaped sign
      | \[\^?(?:(?!&&|--|~~)[^\\\[\]]|\\(?:[dDwWsSnrtfv]|[^a-zA-Z0-9\s]))++\]   # a class without a class inside
      | \((?:\?:|(?!\?)) | [)|^$]                             # groups, alternatives, anchors
      | (?:[?*+]|\{\d+(?:,\d*)?\})(?![?*+{])                  # greedy repeats
    )*+""",
    re.VERBOSE,
)


def is_portable_pattern(pattern: str) -> bool:
    """Return whether the regular expression is portable: it has the same meaning in every library.

    `[[:alpha:]]`, `\\A…\\z`, `\\b`, `(?i)`, `\\p{L}` and set operations in a class are not portable.
    """
    return _PORTABLE_PATTERN.fullmatch(pattern) is not None


def walk(schema: JsonObject, visit: Callable[[JsonObject], JsonObject]) -> JsonObject:
    """Rewrite a schema from the root down: `visit` rewrites a node, then the subschemas of the result."""
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
    """Return the value if it is an object, otherwise an empty schema (for a boolean or an absent subschema)."""
    return value if isinstance(value, dict) else {}


def types(node: JsonObject) -> list[str]:
    stated = node.get("type", ())
    return [stated] if isinstance(stated, str) else list(stated)


def united(names: Iterable[str]) -> str | list[str]:
    """Return the value of `type` for these types, of which each may occur several times."""
    distinct = list(dict.fromkeys(names))
    return distinct[0] if len(distinct) == 1 else distinct


def nullable(node: JsonObject) -> bool:
    if "anyOf" in node:
        return any(nullable(subschema(branch)) for branch in node["anyOf"])
    if "enum" in node or "const" in node:
        return None in node.get("enum", [node.get("const")])
    return "type" not in node or "null" in types(node)


def is_open(node: JsonObject) -> bool:
    """Return whether the node is an open object: a map from arbitrary keys to values, without declared properties."""
    return "object" in types(typed(node)) and not node.get("properties") and "anyOf" not in node


def without(node: JsonObject, words: Collection[str]) -> JsonObject:
    return {word: value for word, value in node.items() if word not in words}


def simple(node: JsonObject, unsaid: Collection[str] = (), formats: Collection[str] | None = None) -> JsonObject:
    """Reduce a node to keywords that providers enforce.

    All other keywords are moved into the description, and so are the keywords in `unsaid` and a format that is not in
    `formats`. `title` and similar annotations are dropped.
    """
    node = _relevant(_with_required(structural(node)))
    moved = {word: value for word, value in node.items() if word in _COMPLEX}
    if "patternProperties" in moved:
        node = {**node, "additionalProperties": True}
    unsaid = {"default", "examples", "minProperties", "maxProperties", *unsaid}
    if not is_portable_pattern(str(node.get("pattern", ""))):
        unsaid.add("pattern")
    if formats is not None and node.get("format") not in formats:
        unsaid.add("format")
    node = say(without(node, _SILENT | moved.keys()), unsaid)
    if not moved:
        return node
    text = json.dumps(moved, ensure_ascii=False)
    rules = f"Must also match this JSON Schema: {text}" if len(text) <= _LONGEST else "More rules apply."
    return described(node, [rules])


def _relevant(node: JsonObject) -> JsonObject:
    """Drop keywords that apply to none of the node's types."""
    names = types(typed(node) if node.keys() & {"enum", "const"} else node)
    own = [words for name, words in OWN_KEYWORDS.items() if name in names]
    return without(node, _TYPED - frozenset().union(*own)) if names else node


def _with_required(node: JsonObject) -> JsonObject:
    """Declare required properties that are missing in `properties`, because grammars allow only declared properties."""
    properties = node.get("properties", {})
    missing = [name for name in node.get("required", ()) if name not in properties]
    others = subschema(node.get("additionalProperties"))
    return {**node, "properties": {**properties, **dict.fromkeys(missing, others)}} if missing else node


def structural(node: JsonObject) -> JsonObject:
    """Rewrite allOf, oneOf and prefixItems to properties, items and anyOf.

    An anyOf beside properties, items, enum or const is moved into allOf. Every value that the node accepts is accepted
    by the result. Keywords that cannot be rewritten are kept.
    """
    if "allOf" in node:
        node = _merged(node)
    if "oneOf" in node and "anyOf" not in node:
        node = {("anyOf" if word == "oneOf" else word): value for word, value in node.items()}
    if "prefixItems" in node:
        node = _items_of_any_place(node)
    if node.get("items") is False:
        node = without(node, {"items"}) | ({} if "maxItems" in node else {"maxItems": 0})
    if "anyOf" in node and _SHAPE & node.keys():
        rules = {"anyOf": node["anyOf"]}
        return {**without(node, {"anyOf"}), "allOf": [*node.get("allOf", ()), rules]}
    if "anyOf" in node and "type" in node:
        stated = {"type": node["type"]}
        branches = [stated | subschema(branch) for branch in node["anyOf"]]
        node = {**without(node, {"type"}), "anyOf": branches}
    return node


def _merged(node: JsonObject) -> JsonObject:
    """Merge the entries of allOf into the node. Conflicting keywords remain in allOf.

    `properties` and `required` are united. Any other keyword is merged only if its values are equal.
    """
    merged = without(node, {"allOf"})
    left: list[JsonObject] = []
    for entry in map(structural, map(subschema, node["allOf"])):
        rest: JsonObject = {}
        for word, value in entry.items():
            if word == "properties":
                own = merged.get("properties", {})
                rest |= {word: both} if (both := {name: value[name] for name in value if name in own}) else {}
                merged["properties"] = {**value, **own} if not own else {**own, **without(value, own)}
            elif word == "required":
                merged[word] = list(dict.fromkeys([*merged.get(word, ()), *value]))
            elif merged.setdefault(word, value) != value and word not in ("title", "description"):
                rest[word] = value
        if rest:
            left.append(rest)
    return {**merged, "allOf": left} if left else merged


def _items_of_any_place(node: JsonObject) -> JsonObject:
    prefix, items = node["prefixItems"], node.get("items", True)
    choices = [*prefix, *([items] if isinstance(items, dict) and items else [])]
    choices = [choice for index, choice in enumerate(choices) if choice not in choices[:index]]
    rewritten = dict(node)
    if items is False:
        rewritten = {"maxItems": len(prefix)} | rewritten
    if items is True or items == {}:
        rewritten.pop("items", None)
    else:
        rewritten["items"] = choices[0] if len(choices) == 1 else {"anyOf": choices}
    return rewritten


def say(node: JsonObject, unsaid: Collection[str]) -> JsonObject:
    """Move the keywords `unsaid` into the description, as sentences."""
    moved = [word for word in node if word in unsaid]
    sentences = [_sentence(word, node[word]) for word in moved if node[word] is not False]
    return described(without(node, moved), sentences)


def _sentence(word: str, value: Any) -> str:
    values = value if word in ("enum", "examples") else [value]
    bare = word in ("pattern", "format")
    return _SENTENCES[word].format(", ".join(v if bare else json.dumps(v, ensure_ascii=False) for v in values))


def described(node: JsonObject, sentences: list[str]) -> JsonObject:
    if not sentences:
        return node
    text = str(node.get("description", "")).strip()
    if text and text[-1] not in ".!?:;":
        text += "."
    return {**node, "description": " ".join([text, *sentences]).strip()}


def closed(node: JsonObject) -> JsonObject:
    """Add `additionalProperties: false` to an object that declares properties but not `additionalProperties`."""
    if not node.get("properties") or "additionalProperties" in node:
        return node
    return {**node, "additionalProperties": False}


def const_as_enum(node: JsonObject) -> JsonObject:
    return {**without(node, {"const"}), "enum": [node["const"]]} if "const" in node else node


def _json_type(value: Any) -> str:
    return _TYPE_NAMES[type(value)]


def typed(node: JsonObject) -> JsonObject:
    """Add the types that the other keywords imply. If they imply none, add the scalar types and null."""
    if "type" in node or "anyOf" in node:
        return node
    if "enum" in node or "const" in node:
        names = list(map(_json_type, const_as_enum(node)["enum"]))
        names = [name for name in names if name != "integer" or "number" not in names]
    else:
        names = [name for name, words in OWN_KEYWORDS.items() if words & node.keys() and name != "integer"]
        names = names or ["string", "number", "boolean", "null"]
    return {"type": united(names), **node}


def split_types(node: JsonObject, *, with_null: bool = False) -> JsonObject:
    """Translate a node with several types to an `anyOf` with one type each. `with_null`: null counts as a type."""
    names = types(node)
    if len([name for name in names if with_null or name != "null"]) < 2:
        return node
    rest = without(node, _TYPED | {"type", "enum"})
    branches = [branch for branch in (_only(node, name) for name in names) if branch.get("enum", True)]
    return {**rest, "anyOf": branches} if branches else node


def _only(node: JsonObject, name: str) -> JsonObject:
    """Return the keywords of a node that apply to the type `name`."""
    words = {word: value for word, value in node.items() if word in OWN_KEYWORDS.get(name, ())}
    if "enum" in node:
        accepted = {name, "integer"} if name == "number" else {name}
        words["enum"] = [value for value in node["enum"] if _json_type(value) in accepted]
    return {"type": "null"} if words.get("enum") == [None] else {"type": name, **words}
