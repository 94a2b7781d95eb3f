"""A JSON Schema in each provider's dialect: pure functions from schema to schema.

What a provider cannot enforce moves into the description as a sentence, so that the model still reads it; the
answer is always validated against the original schema. The order of keys is kept: models write in schema
order, and early fields influence later ones.

OpenAI's strict mode has neither optional properties nor open objects. The first are sent as nullable and
required, the second as a list of entries with a key and a value; `restore` reverses both in an answer.
"""

import json
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any

from providers.base import JsonObject
from providers.schema_nodes import (
    BOUNDS,
    OWN_KEYWORDS,
    RANGE,
    closed,
    const_as_enum,
    described,
    is_open,
    known_format,
    nullable,
    say,
    simple,
    split_types,
    structural,
    subschema,
    typed,
    types,
    walk,
    without,
)

Dialect = Callable[[JsonObject], JsonObject]
_CACHED = 256
_CACHEABLE = 32_768  # characters of schema text
_OPENAI_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_ANTHROPIC_FORMATS = _OPENAI_FORMATS | {"uri"}
_GEMINI_FORMATS = frozenset({"date-time", "date", "time"})
_GRAMMAR_FORMATS = frozenset({"date-time", "date", "time", "uuid"})
# googleapis/python-genai#2170: the sum over all maxItems is a budget, near 960 on one model; stay well below.
_GEMINI_ITEMS = 200
# googleapis/python-genai#950: a hundred classes in the enums of a schema are "too many states for serving".
_CHOICES = 90
# ggml-org/llama.cpp#27087: a repetition of 2000 breaks the grammar.
_LLAMACPP_ITEMS = 1000


def _cached(translate: Dialect) -> Dialect:
    """Cache the results by the schema's text: translating takes ten times as long as writing the text."""

    @lru_cache(maxsize=_CACHED)
    def from_text(text: str) -> JsonObject:
        return translate(json.loads(text))

    @wraps(translate)
    def dialect(schema: JsonObject) -> JsonObject:
        text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
        return from_text(text) if len(text) <= _CACHEABLE else translate(schema)

    return dialect


@_cached
def openai_strict(schema: JsonObject) -> JsonObject:
    """Return OpenAI's strict subset: every object closed, every property required, every node typed, no lengths.

    A root that is an open object or an `anyOf` has no strict form: OpenAI rejects it, and the next output mode
    is tried. sherifkozman/the-llm-council#9, laravel/ai#506.
    """

    def visit(node: JsonObject) -> JsonObject:
        node = say(simple(node), {"minLength", "maxLength", "uniqueItems"})
        node = const_as_enum(typed(known_format(node, _OPENAI_FORMATS)))
        node = _strict_object(node) if node.get("properties") else node
        if "array" in types(node):
            node = {**node, "items": _listed(subschema(node.get("items")))}
        if "anyOf" in node:
            node = {**node, "anyOf": [_listed(subschema(branch)) for branch in node["anyOf"]]}
        return split_types(node)

    return walk(schema, visit)


@_cached
def openai_compatible(schema: JsonObject) -> JsonObject:
    """Return what unknown servers and gateways accept: the keywords that every grammar backend supports.

    Which others a backend supports changes with its version (vllm-project/vllm#16880, #26421).
    """
    unsaid = {"minLength", "maxLength", "format", "uniqueItems", "multipleOf"}
    return walk(schema, lambda node: closed(say(simple(node), unsaid)))


@_cached
def vllm(schema: JsonObject) -> JsonObject:
    """Return what vLLM enforces: lengths, multipleOf and some formats too; uniqueItems is a 400 (vLLM 0.32)."""
    return walk(schema, lambda node: closed(known_format(say(simple(node), {"uniqueItems"}), _GRAMMAR_FORMATS)))


@_cached
def llamacpp(schema: JsonObject) -> JsonObject:
    """Return what llama.cpp turns into a grammar.

    Patterns break it when nested or not anchored, and long repetitions do (ggml-org/llama.cpp#25746, #27087);
    multipleOf, uniqueItems and the bounds of fractional numbers are ignored (measured with llama-server).
    """

    def visit(node: JsonObject) -> JsonObject:
        unsaid = {"minLength", "maxLength", "pattern", "uniqueItems", "multipleOf"}
        unsaid |= RANGE if "number" in types(node) else set()
        unsaid |= {word for word in ("minItems", "maxItems") if node.get(word, 0) > _LLAMACPP_ITEMS}
        node = known_format(say(simple(node), unsaid), _GRAMMAR_FORMATS)
        # ggml-org/llama.cpp#25923: empty `properties` give a grammar that does not parse
        return closed(node) if node.get("properties") else without(node, {"properties"})

    return walk(schema, visit)


@_cached
def anthropic(schema: JsonObject) -> JsonObject:
    """Return what Anthropic's structured outputs enforce: closed objects, optional properties, no bounds.

    platform.claude.com/docs/en/build-with-claude/structured-outputs: portable patterns, enums of scalars, and of the
    bounds a minItems of 0 or 1. At most 24 optional properties and 16 unions in a schema: no property becomes
    nullable here.
    """
    bounds = RANGE | {"minLength", "maxLength", "maxItems", "uniqueItems", "multipleOf"}

    def visit(node: JsonObject) -> JsonObject:
        node = const_as_enum(typed(simple(node)))
        unsaid = bounds | ({"minItems"} if node.get("minItems", 0) > 1 else set())
        unsaid |= {"enum"} if any(isinstance(value, dict | list) for value in node.get("enum", ())) else set()
        node = known_format(say(node, unsaid), _ANTHROPIC_FORMATS)
        if node.get("properties"):
            listed = {name: _listed(subschema(child)) for name, child in node["properties"].items()}
            node = {**node, "properties": listed, "additionalProperties": False}
        if "array" in types(node):
            node = {**node, "items": _listed(subschema(node.get("items")))}
        if "anyOf" in node:
            node = {**node, "anyOf": [_listed(subschema(branch)) for branch in node["anyOf"]]}
        return node

    return walk(schema, visit)


@_cached
def gemini(schema: JsonObject) -> JsonObject:
    """Return what Gemini's `response_json_schema` accepts.

    No title (googleapis/python-genai#1732), const as an enum of one (zed-industries/zed#44875), no exclusive
    bounds, and a budget for array bounds (vercel/ai#21192) and enums (googleapis/python-genai#950).
    """
    unsaid = {"minLength", "maxLength", "pattern", "uniqueItems", "multipleOf"}
    items, choices = _GEMINI_ITEMS, _CHOICES

    def visit(node: JsonObject) -> JsonObject:
        nonlocal items, choices
        node = known_format(_inclusive(say(simple(node), unsaid)), _GEMINI_FORMATS)
        if "maxItems" in node or "minItems" in node:
            items -= max(node.get("maxItems", 0), node.get("minItems", 0))
            # Open-Historia/open-historia#790: bounds on a list of objects fail however small they are
            if items < 0 or "object" in types(subschema(node.get("items"))):
                node = say(node, {"minItems", "maxItems"})
        node = _gemini_enum(const_as_enum(node))
        choices -= len(node.get("enum", ()))
        node = say(node, {"enum"}) if choices < 0 else node
        return without(node, {"additionalProperties"}) if node.get("additionalProperties") is False else node

    return walk(schema, visit)


@_cached
def relaxed(schema: JsonObject) -> JsonObject:
    """Return the second output mode of every provider: structure, types and short enums, the rest as sentences."""

    choices = _CHOICES

    def visit(node: JsonObject) -> JsonObject:
        nonlocal choices
        node = const_as_enum(say(simple(node), BOUNDS))
        choices -= len(node.get("enum", ()))
        node = say(node, {"enum"}) if choices < 0 else node
        open_or_closed = isinstance(node.get("additionalProperties"), bool)
        return without(node, {"additionalProperties"}) if open_or_closed else node

    return walk(schema, visit)


def describe(schema: JsonObject) -> str:
    """Return the schema as prompt text, for output modes that send none and servers that hide it from the model."""
    text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    return (
        "Answer with one JSON object and nothing else: no prose around it, no code fence. "
        f"The object must be valid against this JSON Schema:\n{text}"
    )


def restore(value: Any, schema: JsonObject) -> Any:
    """Convert an answer in OpenAI's strict form, or a part of it, back; any other answer is returned unchanged.

    A null in an optional property that may not be null is left out, and a list of entries becomes the open
    object that it represents.
    """
    schema = _branch(value, structural(schema))
    if isinstance(value, list) and is_open(schema):
        entries = [entry for entry in value if isinstance(entry, dict) and isinstance(entry.get("key"), str)]
        inner = subschema(schema.get("additionalProperties"))
        return {entry["key"]: restore(entry.get("value"), inner) for entry in entries}
    if isinstance(value, list):
        return [restore(item, subschema(schema.get("items"))) for item in value]
    if isinstance(value, dict):
        return _restore_object(value, schema)
    return value


def _restore_object(value: JsonObject, schema: JsonObject) -> JsonObject:
    properties = subschema(schema.get("properties"))
    required = schema.get("required", ())
    return {
        name: restore(item, subschema(properties.get(name)))
        for name, item in value.items()
        if item is not None
        or name not in properties
        or name in required
        or nullable(structural(subschema(properties[name])))
    }


def _branch(value: Any, schema: JsonObject) -> JsonObject:
    """Return the branch of an `anyOf` for which an object or a list was written."""
    branches = [structural(subschema(branch)) for branch in schema.get("anyOf", ())]
    if isinstance(value, list):
        branches.sort(key=is_open)
        return next((branch for branch in branches if is_open(branch) or "array" in types(branch)), schema)
    if isinstance(value, dict):
        branches.sort(key=lambda branch: len(value.keys() - subschema(branch.get("properties")).keys()))
        return next((branch for branch in branches if "object" in types(branch)), schema)
    return schema


def _strict_object(node: JsonObject) -> JsonObject:
    required = node.get("required", ())
    properties = {
        name: _listed(subschema(child)) if name in required else _optional(_listed(subschema(child)))
        for name, child in node["properties"].items()
    }
    return {**node, "properties": properties, "required": list(properties), "additionalProperties": False}


def _optional(node: JsonObject) -> JsonObject:
    """Let a property be null where the schema lets it be absent."""
    node = simple(node)
    if nullable(node):
        return node
    node = described(typed(const_as_enum(node)), ["Null if there is nothing to say."])
    if "anyOf" in node:
        return {**node, "anyOf": [*node["anyOf"], {"type": "null"}]}
    if "enum" in node:
        node = {**node, "enum": [*node["enum"], None]}
    return {**node, "type": [*([node["type"]] if isinstance(node["type"], str) else node["type"]), "null"]}


def _listed(node: JsonObject) -> JsonObject:
    """Write an open object as a list of entries."""
    node = simple(node)
    if not is_open(node):
        return node
    node = typed(node)
    named = node["type"]
    value = subschema(node.get("additionalProperties"))
    entry = {
        "type": "object",
        "properties": {"key": {"type": "string"}, "value": value},
        "required": ["key", "value"],
    }
    listed = {**without(node, OWN_KEYWORDS["object"]), "items": entry}
    listed["type"] = "array" if isinstance(named, str) else ["array" if kind == "object" else kind for kind in named]
    return listed


def _inclusive(node: JsonObject) -> JsonObject:
    """Write the exclusive bounds of an integer as inclusive ones; move others into the description."""
    whole = types(node) <= {"integer", "null"}
    for word, inclusive, step in (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)):
        if whole and isinstance(node.get(word), int) and inclusive not in node:
            node = {**without(node, {word}), inclusive: node[word] + step}
    return say(node, {"exclusiveMinimum", "exclusiveMaximum"})


def _gemini_enum(node: JsonObject) -> JsonObject:
    """Keep enums of strings and numbers, with null in a separate branch; move others into the description."""
    if "enum" not in node:
        return node
    node = typed(node)
    values = [value for value in node["enum"] if value is not None]
    if not values or any(not isinstance(value, str | int | float) or isinstance(value, bool) for value in values):
        return say(node, {"enum"})
    if len(values) == len(node["enum"]):
        return split_types(node)
    kinds = sorted(types(node) - {"null"})
    choice = {"type": kinds[0] if len(kinds) == 1 else kinds, "enum": values}
    return {**without(node, {"type", "enum"}), "anyOf": [choice, {"type": "null"}]}
