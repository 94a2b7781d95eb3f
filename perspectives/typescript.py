"""Generate TypeScript types of the results of perspectives from their JSON Schemas."""

import json
import re
from collections.abc import Iterable
from itertools import chain, count

from perspectives.json_values import JsonObject
from perspectives.perspective import Perspective

_HEADER = "// Types of the results of perspectives, written by graphcap bridge: npx @graphcap/bridge types\n"
_MAP = "Perspectives"
_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_SIMPLE = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}


def module(perspectives: Iterable[Perspective]) -> str:
    """Return a TypeScript module: a type per perspective, and the type `Perspectives`, which maps names to them."""
    types: dict[str, str] = {}
    blocks = []
    for perspective in perspectives:
        name = types[perspective.name] = _type_name(perspective.name, {_MAP, *types.values()})
        schema = perspective.json_schema
        description = perspective.description or schema.get("description", "")
        blocks.append(f"{_comment(description, '')}export type {name} = {_bare(type_of(schema))};\n")
    members = "".join(f"  {_key(name)}: {type_name};\n" for name, type_name in types.items())
    return "\n".join([_HEADER, *blocks, f"export interface {_MAP} {{\n{members}}}\n"])


def type_of(schema: JsonObject | bool, indent: str = "") -> str:
    """Return the TypeScript type of the values that match a normalised schema. `indent`: spaces of the current line.

    Keywords without an equivalent in TypeScript (lengths, patterns, `not`, `if`) are ignored.
    """
    if isinstance(schema, bool):
        return "unknown" if schema else "never"
    parts = [_own_type(schema, indent)]
    for word in ("anyOf", "oneOf"):
        if word in schema:
            parts.append(_join(" | ", (type_of(option, indent) for option in schema[word])))
    parts += [type_of(part, indent) for part in schema.get("allOf", ())]
    return _join(" & ", (part for part in parts if part != "unknown"))


def _own_type(schema: JsonObject, indent: str) -> str:
    """Return the type of a schema, ignoring `anyOf`, `oneOf` and `allOf`."""
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return _join(" | ", map(json.dumps, schema["enum"]))
    names = schema.get("type") or ("object" if schema.keys() & {"properties", "required"} else "unknown")
    structured = {"object": _object, "array": _array}
    listed = [names] if isinstance(names, str) else names
    types = (
        structured[name](schema, indent) if name in structured else _SIMPLE.get(name, "unknown") for name in listed
    )
    return _join(" | ", types)


def _object(schema: JsonObject, indent: str) -> str:
    properties: JsonObject = schema.get("properties", {})
    required = schema.get("required", [])
    rest = schema.get("additionalProperties", not properties)
    if not properties and not required and "patternProperties" not in schema:
        return f"Record<string, {_bare(type_of(rest, indent))}>"
    deeper = indent + "  "
    lines = []
    for key in dict.fromkeys([*properties, *required]):
        value = properties.get(key, True)
        mark = "" if key in required else "?"
        description = value.get("description", "") if isinstance(value, dict) else ""
        lines.append(f"{_comment(description, deeper)}{deeper}{_key(key)}{mark}: {_bare(type_of(value, deeper))};\n")
    if schema.get("additionalProperties", False) is not False or "patternProperties" in schema:
        lines.append(f"{deeper}[name: string]: unknown;\n")
    return f"{{\n{''.join(lines)}{indent}}}"


def _array(schema: JsonObject, indent: str) -> str:
    rest = schema.get("items", True)
    first = [type_of(item, indent) for item in schema.get("prefixItems", ())]
    if not first:
        return f"{type_of(rest, indent)}[]"
    least = schema.get("minItems", 0)
    items = [item if place < least else f"({item})?" for place, item in enumerate(first)]
    return f"[{', '.join([*items, *([f'...{type_of(rest, indent)}[]'] if rest is not False else [])])}]"


def _join(operator: str, parts: Iterable[str]) -> str:
    distinct = list(dict.fromkeys(parts))
    return f"({operator.join(distinct)})" if len(distinct) > 1 else (distinct or ["unknown"])[0]


def _bare(text: str) -> str:
    return text[1:-1] if text.startswith("(") and text.endswith(")") else text


def _key(name: str) -> str:
    return name if _IDENTIFIER.fullmatch(name) else json.dumps(name)


def _comment(text: str, indent: str) -> str:
    words = " ".join(text.split()).replace("*/", "*\\/")
    return f"{indent}/** {words} */\n" if words else ""


def _type_name(name: str, used: set[str]) -> str:
    """Return an unused identifier for the name, in PascalCase. Only the name's ASCII letters and digits are kept."""
    words = re.findall(r"[A-Za-z0-9]+", name)
    pascal = "".join(word[0].upper() + word[1:] for word in words)
    pascal = pascal if _IDENTIFIER.fullmatch(pascal) else f"Perspective{pascal}"
    return next(choice for choice in chain([pascal], (f"{pascal}{n}" for n in count(2))) if choice not in used)
