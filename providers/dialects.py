"""Translate a JSON Schema to each provider's dialect, with pure functions from schema to schema.

Keywords that a provider cannot enforce are moved into the description as sentences. The order of keys is kept, because
models write fields in schema order.

OpenAI's strict mode supports neither optional properties nor open objects (maps from arbitrary keys to values). They
are sent as nullable properties, and as lists of entries with a key and a value. `restore` reverses both in an answer.
"""

import json
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any

from providers import schema_nodes as nodes
from providers.base import JsonObject, VisionRequest

Dialect = Callable[[JsonObject], JsonObject]
_CACHED = 256
_CACHEABLE = 32_768  # characters of schema text
_OPENAI_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_ANTHROPIC_FORMATS = _OPENAI_FORMATS | {"uri"}
_GEMINI_FORMATS = frozenset({"date-time", "date", "time"})
_GRAMMAR_FORMATS = frozenset({"date-time", "date", "time", "uuid"})
# googleapis/python-genai#2170: Gemini limits the sum of all maxItems (to about 960 on one model).
_GEMINI_ITEMS = 200
# googleapis/python-genai#950: 100 enum values in one schema are "too many states for serving".
_CHOICES = 90
# ggml-org/llama.cpp#27087: minItems or maxItems of 2000 breaks the grammar.
_LLAMACPP_ITEMS = 1000


def _cached(translate: Dialect) -> Dialect:
    """Cache the results by the schema's JSON text. Translating takes ten times as long as serialising the schema."""

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
    """Translate to OpenAI's strict subset: closed objects, required properties, a type in every node, no lengths.

    If the root is an open object or an `anyOf`, OpenAI rejects the schema and the next less strict output mode is
    tried. sherifkozman/the-llm-council#9, laravel/ai#506.
    """
    unsaid = {"minLength", "maxLength", "uniqueItems"}

    def visit(node: JsonObject) -> JsonObject:
        node = nodes.typed(nodes.simple(node, unsaid, _OPENAI_FORMATS))
        node = _with_listed_children(nodes.const_as_enum(node))
        return nodes.split_types(_strict_object(node) if node.get("properties") else node)

    return nodes.walk(schema, visit)


@_cached
def openai_compatible(schema: JsonObject) -> JsonObject:
    """Translate for unknown servers and gateways: keep only the keywords that all common servers enforce.

    Support for other keywords depends on the server's version (vllm-project/vllm#16880, #26421).
    """
    unsaid = {"minLength", "maxLength", "format", "uniqueItems", "multipleOf"}
    return nodes.walk(schema, lambda node: nodes.closed(nodes.simple(node, unsaid)))


@_cached
def vllm(schema: JsonObject) -> JsonObject:
    """Translate for vLLM, which also enforces lengths, multipleOf and some formats. 0.32 rejects uniqueItems."""
    return nodes.walk(schema, lambda node: nodes.closed(nodes.simple(node, {"uniqueItems"}, _GRAMMAR_FORMATS)))


@_cached
def llamacpp(schema: JsonObject) -> JsonObject:
    """Translate for llama.cpp, which converts the schema to a grammar: rules that limit the model's text.

    Patterns that are nested or not anchored break the grammar, and so do long repetitions (ggml-org/llama.cpp#25746,
    #27087). multipleOf, uniqueItems and the bounds of `number` are ignored (measured with llama-server).
    """
    unsaid = {"minLength", "maxLength", "pattern", "uniqueItems", "multipleOf"}

    def visit(node: JsonObject) -> JsonObject:
        node = nodes.simple(node, unsaid, _GRAMMAR_FORMATS)
        ignored = set(nodes.RANGE) if "number" in nodes.types(node) else set()
        ignored |= {word for word in ("minItems", "maxItems") if node.get(word, 0) > _LLAMACPP_ITEMS}
        node = nodes.say(node, ignored)
        # ggml-org/llama.cpp#25923: empty `properties` give a grammar that does not parse
        return nodes.closed(node) if node.get("properties") else nodes.without(node, {"properties"})

    return nodes.walk(schema, visit)


@_cached
def anthropic(schema: JsonObject) -> JsonObject:
    """Translate for Anthropic's structured outputs, which enforce closed objects and optional properties but no bounds.

    platform.claude.com/docs/en/build-with-claude/structured-outputs: patterns that every engine understands, enums of
    scalars, and minItems of 0 or 1 are supported. A schema may have at most 24 optional properties and 16 unions, so
    optional properties are not made nullable.
    """
    bounds = nodes.RANGE | {"minLength", "maxLength", "maxItems", "uniqueItems", "multipleOf"}

    def visit(node: JsonObject) -> JsonObject:
        node = nodes.const_as_enum(nodes.typed(nodes.simple(node, bounds, _ANTHROPIC_FORMATS)))
        unsaid = {"minItems"} if node.get("minItems", 0) > 1 else set()
        unsaid |= {"enum"} if any(isinstance(value, dict | list) for value in node.get("enum", ())) else set()
        node = _with_listed_children(nodes.say(node, unsaid))
        return {**node, "additionalProperties": False} if node.get("properties") else node

    return nodes.walk(schema, visit)


@_cached
def gemini(schema: JsonObject) -> JsonObject:
    """Translate for Gemini's `response_json_schema`.

    Gemini accepts no title (googleapis/python-genai#1732), const only as an enum of one value
    (zed-industries/zed#44875), and no exclusive bounds. The array bounds (vercel/ai#21192) and the enum values
    (googleapis/python-genai#950) of a schema are limited in total.
    """
    unsaid = {"minLength", "maxLength", "pattern", "uniqueItems", "multipleOf", "exclusiveMinimum", "exclusiveMaximum"}
    items, choices = _GEMINI_ITEMS, _CHOICES

    def visit(node: JsonObject) -> JsonObject:
        nonlocal items, choices
        node = nodes.simple(node, unsaid, _GEMINI_FORMATS)
        if "maxItems" in node or "minItems" in node:
            items -= max(node.get("maxItems", 0), node.get("minItems", 0))
            # Open-Historia/open-historia#790: any minItems or maxItems on a list of objects fails
            if items < 0 or "object" in nodes.types(nodes.subschema(node.get("items"))):
                node = nodes.say(node, {"minItems", "maxItems"})
        node = _gemini_enum(nodes.const_as_enum(node))
        choices -= len(node.get("enum", ()))
        node = nodes.say(node, {"enum"}) if choices < 0 else node
        return nodes.without(node, {"additionalProperties"}) if node.get("additionalProperties") is False else node

    return nodes.walk(schema, visit)


@_cached
def relaxed(schema: JsonObject) -> JsonObject:
    """Translate for the output mode `json_schema_relaxed`: keep structure, types and short enums."""
    choices = _CHOICES

    def visit(node: JsonObject) -> JsonObject:
        nonlocal choices
        node = nodes.const_as_enum(nodes.simple(node, nodes.BOUNDS))
        choices -= len(node.get("enum", ()))
        node = nodes.say(node, {"enum"}) if choices < 0 else node
        open_or_closed = isinstance(node.get("additionalProperties"), bool)
        return nodes.without(node, {"additionalProperties"}) if open_or_closed else node

    return nodes.walk(schema, visit)


def enforced(request: VisionRequest, dialect: Dialect) -> JsonObject | None:
    """Return the schema that the server enforces, or None if the output mode sends no schema."""
    if request.schema is None or not request.enforces_schema:
        return None
    return dialect(relaxed(request.schema) if request.output_mode == "json_schema_relaxed" else request.schema)


def prompt(request: VisionRequest, *, shown: bool = False, sent: JsonObject | None = None) -> str:
    """Return the prompt, with the schema appended unless the server shows the schema to the model (`shown`).

    `sent`: the schema in the provider's dialect. Most servers use the schema only to constrain the output, so the model
    does not see descriptions: ollama/ollama#8162, vllm-project/vllm#31804, ggml-org/llama.cpp#18492.
    """
    if request.schema is None or shown:
        return request.prompt
    text = json.dumps(sent or request.schema, ensure_ascii=False, separators=(",", ":"))
    return (
        f"{request.prompt}\n\nAnswer with one JSON object and nothing else: no prose around it, no code fence. "
        f"The object must be valid against this JSON Schema:\n{text}"
    )


def restore(value: Any, schema: JsonObject) -> Any:
    """Convert an answer in OpenAI's strict form to the form of the original schema. Return other answers unchanged.

    An optional property is removed if its value is null and its schema does not accept null. A list of entries is
    converted to the open object that the list represents. `value` may also be a part of an answer.
    """
    schema = _branch(value, nodes.structural(schema))
    if isinstance(value, list) and nodes.is_open(schema):
        entries = [entry for entry in value if isinstance(entry, dict) and isinstance(entry.get("key"), str)]
        inner = nodes.subschema(schema.get("additionalProperties"))
        return {entry["key"]: restore(entry.get("value"), inner) for entry in entries}
    if isinstance(value, list):
        return [restore(item, nodes.subschema(schema.get("items"))) for item in value]
    if isinstance(value, dict):
        return _restore_object(value, schema)
    return value


def _restore_object(value: JsonObject, schema: JsonObject) -> JsonObject:
    properties = nodes.subschema(schema.get("properties"))
    required = schema.get("required", ())
    return {
        name: restore(item, nodes.subschema(properties.get(name)))
        for name, item in value.items()
        if item is not None
        or name not in properties
        or name in required
        or nodes.nullable(nodes.structural(nodes.subschema(properties[name])))
    }


def _branch(value: Any, schema: JsonObject) -> JsonObject:
    """Return the `anyOf` branch that best matches an object or a list; the schema itself if no branch matches."""
    branches = [nodes.structural(nodes.subschema(branch)) for branch in schema.get("anyOf", ())]
    if isinstance(value, list):
        branches.sort(key=nodes.is_open)
        return next((branch for branch in branches if nodes.is_open(branch) or "array" in nodes.types(branch)), schema)
    if isinstance(value, dict):
        branches.sort(key=lambda branch: len(value.keys() - nodes.subschema(branch.get("properties")).keys()))
        return next((branch for branch in branches if "object" in nodes.types(branch)), schema)
    return schema


def _strict_object(node: JsonObject) -> JsonObject:
    required = node.get("required", ())
    properties = {name: child if name in required else _optional(child) for name, child in node["properties"].items()}
    return {**node, "properties": properties, "required": list(properties), "additionalProperties": False}


def _optional(node: JsonObject) -> JsonObject:
    """Make an optional property nullable, so that null can replace an absent property."""
    node = nodes.simple(node)
    if nodes.nullable(node):
        return node
    node = nodes.described(nodes.typed(nodes.const_as_enum(node)), ["Null if there is nothing to say."])
    if "anyOf" in node:
        return {**node, "anyOf": [*node["anyOf"], {"type": "null"}]}
    if "enum" in node:
        node = {**node, "enum": [*node["enum"], None]}
    return {**node, "type": nodes.united([*nodes.types(node), "null"])}


def _with_listed_children(node: JsonObject) -> JsonObject:
    """Translate the open objects among the properties, the items and the alternatives to lists of entries."""
    if node.get("properties"):
        listed = {name: _listed(nodes.subschema(child)) for name, child in node["properties"].items()}
        node = {**node, "properties": listed}
    if "array" in nodes.types(node):
        node = {**node, "items": _listed(nodes.subschema(node.get("items")))}
    if "anyOf" in node:
        node = {**node, "anyOf": [_listed(nodes.subschema(branch)) for branch in node["anyOf"]]}
    return node


def _listed(node: JsonObject) -> JsonObject:
    node = nodes.simple(node)
    if not nodes.is_open(node):
        return node
    node = nodes.typed(node)
    value = nodes.subschema(node.get("additionalProperties"))
    entry = {"type": "object", "properties": {"key": {"type": "string"}, "value": value}, "required": ["key", "value"]}
    listed = {**nodes.without(node, nodes.OWN_KEYWORDS["object"]), "items": entry}
    listed["type"] = nodes.united("array" if kind == "object" else kind for kind in nodes.types(node))
    return listed


def _gemini_enum(node: JsonObject) -> JsonObject:
    """Keep enums of strings and numbers, and put null in a separate branch. Move other enums into the description."""
    values = node.get("enum")
    if not values:
        return node
    node = nodes.typed(node)
    if values == [None] or any(isinstance(value, bool | dict | list) for value in values):
        return nodes.say(node, {"enum"})
    return nodes.split_types(node, with_null=True)
