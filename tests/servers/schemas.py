"""The JSON Schema restrictions of real servers. Each `*_fault` returns an error message, or None."""

import re
from collections.abc import Iterator
from typing import Any

from tests.servers.call import words

STRICT_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
STRICT_REJECTED = words(
    """minLength maxLength uniqueItems patternProperties propertyNames minProperties maxProperties contains minContains
    maxContains unevaluatedItems unevaluatedProperties allOf oneOf not if then else dependentRequired dependentSchemas
    prefixItems"""
)
ANTHROPIC_REJECTED = words(
    """minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength maxItems uniqueItems
    patternProperties propertyNames minProperties maxProperties contains oneOf not if then else dependentRequired
    dependentSchemas prefixItems unevaluatedProperties"""
)
GEMINI_REJECTED = ("$schema", "const", "title", "exclusiveMinimum", "exclusiveMaximum", "patternProperties")


def nodes(schema: Any, path: str = "#", depth: int = 0) -> Iterator[tuple[str, dict[str, Any], int]]:
    """Yield every subschema with its path and depth. Property names are not taken for keywords."""
    if not isinstance(schema, dict):
        return
    yield path, schema, depth
    for word in ("properties", "patternProperties", "dependentSchemas"):
        for key, value in (schema.get(word) or {}).items():
            yield from nodes(value, f"{path}/{word}/{key}", depth + (word == "properties"))
    for word in ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"):
        yield from nodes(schema.get(word), f"{path}/{word}", depth + 1)
    for word in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for index, value in enumerate(schema.get(word) or []):
            yield from nodes(value, f"{path}/{word}/{index}", depth)


def strict_fault(schema: dict[str, Any]) -> str | None:
    """Return why OpenAI's strict mode rejects the schema (ash-project/ash_ai#155, juspay/neurolink#1691)."""
    if schema.get("type") != "object" or "anyOf" in schema:
        return "schema must be a JSON Schema of 'type: \"object\"' and have no anyOf at its root."
    for path, node, _ in nodes(schema):
        if fault := strict_node_fault(node):
            return f"In context={path}, {fault}"
    return None


def strict_node_fault(node: dict[str, Any]) -> str | None:
    if rejected := STRICT_REJECTED & node.keys():
        return f"{sorted(rejected)} is not permitted."
    if not {"type", "anyOf", "enum", "const"} & node.keys():
        return "schema must have a 'type' key."
    if node.get("format", "date") not in STRICT_FORMATS:
        return f"'{node['format']}' is not a valid format."
    if "(?" in node.get("pattern", "") and re.search(r"\(\?<?[=!]", node["pattern"]):
        return "look-around is not permitted in 'pattern'."
    if node.get("type") == "array" and not isinstance(node.get("items"), dict):
        return "array schema missing items."
    return object_fault(node)


def object_fault(node: dict[str, Any]) -> str | None:
    if "object" not in node.get("type", ()):
        return None
    if node.get("additionalProperties") is not False:
        return "'additionalProperties' is required to be supplied and to be false."
    if set(node.get("required", [])) != set(node.get("properties", {})):
        return "'required' is required to be supplied and to be an array including every key in properties."
    return None


def vllm_fault(schema: dict[str, Any]) -> str | None:
    """Return why vLLM rejects the schema: 0.32 rejects `uniqueItems` and accepts or ignores other keywords."""
    if any("uniqueItems" in node for _, node, _ in nodes(schema)):
        return "The provided JSON schema contains features not supported by xgrammar."
    return None


def anthropic_fault(schema: dict[str, Any]) -> str | None:
    """Return why Anthropic rejects the schema (platform.claude.com, "JSON Schema limitations")."""
    optional = unions = 0
    if schema.get("type") != "object":
        return "schema must be of type 'object'."
    for path, node, _ in nodes(schema):
        if fault := anthropic_node_fault(node):
            return f"{path}: {fault}"
        optional += len(node.get("properties", {}).keys() - set(node.get("required", [])))
        unions += "anyOf" in node or isinstance(node.get("type"), list)
    if optional > 24 or unions > 16:
        return f"Schema has too many optional parameters ({optional}) or union types ({unions})."
    return None


def anthropic_node_fault(node: dict[str, Any]) -> str | None:
    for word in ANTHROPIC_REJECTED & node.keys():
        return f"property '{word}' is not supported"
    if not {"type", "$ref", "anyOf", "allOf", "enum", "const"} & node.keys():
        return "schema must have a 'type'."
    if node.get("format", "date") not in STRICT_FORMATS | {"uri"}:
        return f"format '{node['format']}' is not supported"
    if re.search(r"\(\?<?[=!]|\\b", node.get("pattern", "")):
        return "look-around and word boundaries are not supported in 'pattern'"
    if node.get("minItems", 0) > 1:
        return "'minItems' values other than 0 or 1 are not supported"
    if any(isinstance(value, dict | list) for value in [*node.get("enum", []), node.get("const")]):
        return "complex types in enums are not supported"
    if "object" in node.get("type", ()) and node.get("additionalProperties") is not False:
        return "'additionalProperties' must be explicitly set to false"
    return None


def gemini_fault(schema: dict[str, Any]) -> str | None:
    """Return why Gemini rejects the schema; "" means its 400 without a reason (vercel/ai#21192)."""
    bounds = choices = 0
    for path, node, depth in nodes(schema):
        for word in GEMINI_REJECTED:  # zed-industries/zed#44875, QuantumNous/new-api#1037, googleapis/python-genai#1732
            if word in node:
                return f"Invalid JSON payload received. Unknown name \"{word}\" at '{path}': Cannot find field."
        if depth > 10:  # googleapis/js-genai#882
            return "A schema in GenerationConfig in the request exceeds the maximum allowed nesting depth."
        choices += len(node.get("enum", []))
        bounds += node.get("maxItems", 0)
    if choices > 99:  # googleapis/python-genai#950
        return "The specified schema produces a constraint that has too many states for serving."
    return "" if bounds > 400 else None
