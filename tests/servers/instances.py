"""Minimal instances of a JSON Schema, as a server with constrained decoding would generate them."""

import json
import re
from typing import Any

DATES = {
    "date-time": "2026-01-02T03:04:05Z",
    "date": "2026-01-02",
    "time": "03:04:05Z",
    "duration": "P1D",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "email": "a@example.org",
    "uri": "https://example.org/",
    "ipv4": "192.0.2.1",
}


def instance(schema: Any, name: str = "text") -> Any:
    """Return a valid instance: the first branch, the first enum value, the smallest number and length."""
    if not isinstance(schema, dict):
        return name
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return instance(schema[word][0], name)
    return of_type(schema, name)


def of_type(schema: dict[str, Any], name: str) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = next((name for name in kind if name != "null"), "null") if isinstance(kind, list) else kind
    match kind:
        case "object":
            required = schema.get("required", [])
            return {key: instance(value, key) for key, value in schema.get("properties", {}).items() if key in required}
        case "array":
            return [instance(schema.get("items", {}), f"{name} {n}") for n in range(schema.get("minItems", 0))]
        case "integer" | "number":
            return number(schema, kind)
        case "boolean":
            return False
        case "null":
            return None
        case _:
            return string(schema, name)


def string(schema: dict[str, Any], name: str) -> str:
    text = DATES.get(schema.get("format", ""), f"a {name}")
    return text.ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength")]


def number(schema: dict[str, Any], kind: str) -> float | int:
    step = schema.get("multipleOf", 1 if kind == "integer" else 0.5)
    least = schema.get("minimum")
    # An exclusive bound that was moved to the description.
    exclusive = re.search(r"Greater than (\d+)\.", schema.get("description", ""))
    if exclusive is not None:
        least = int(exclusive[1]) + step
    if least is None and "exclusiveMinimum" in schema:
        least = schema["exclusiveMinimum"] + step
    if least is None:
        least = min(0, schema.get("maximum", 0))
    return int(least) if kind == "integer" else float(least)


def schema_in(texts: list[str]) -> Any:
    """Return the first JSON Schema in a prompt, or None: output modes without a schema parameter put it there."""
    decoder = json.JSONDecoder()
    for text in texts:
        at = text.find("{")
        while at >= 0:
            try:
                value, _ = decoder.raw_decode(text, at)
            except ValueError:
                value = None
            if isinstance(value, dict) and isinstance(value.get("properties"), dict):
                return value
            at = text.find("{", at + 1)
    return None
