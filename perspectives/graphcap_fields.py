"""Translate graphcap's `schema_fields` to JSON Schema and back.

A field is an object if it has `fields`. Its other keys do not show this reliably: graphcap's files contain the type
`str` with `is_complex`, and `dict` without it. All fields are required. Their order is kept.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from perspectives.errors import Problem, below, shortened
from perspectives.forms import FieldEntry
from perspectives.json_values import JsonObject

WORDS = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "dict": "object"}
"""Map graphcap's types to the types of JSON Schema."""
_ALIASES = {word: word for word in WORDS}
_ALIASES |= {json_type: word for word, json_type in WORDS.items()}
_SHOWN_CHOICES = 20


@dataclass
class Translation:
    """The result of translating `schema_fields`: the JSON Schema, and the fields in a uniform notation."""

    schema: JsonObject = field(default_factory=dict)
    fields: list[JsonObject] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def to_schema(entries: Sequence[FieldEntry], pointer: str) -> Translation:
    """Translate `schema_fields` to JSON Schema. `pointer`: the place of `schema_fields` in the file."""
    translation = Translation()
    translation.schema, translation.fields = _object(entries, pointer, translation)
    return translation


def _object(
    entries: Sequence[FieldEntry], pointer: str, translation: Translation
) -> tuple[JsonObject, list[JsonObject]]:
    properties: JsonObject = {}
    fields: list[JsonObject] = []
    for index, entry in enumerate(entries):
        at = below(pointer, index)
        if entry.name in properties:
            message = f"Another field is called '{shortened(entry.name)}' too."
            translation.problems.append(Problem(below(at, "name"), message))
            continue
        properties[entry.name], uniform = _field(entry, at, translation)
        fields.append(uniform)
    return {"type": "object", "properties": properties, "required": list(properties)}, fields


def _field(entry: FieldEntry, pointer: str, translation: Translation) -> tuple[JsonObject, JsonObject]:
    word = _word(entry, below(pointer, "type"), translation)
    description = entry.description if entry.description.strip() else ""
    uniform = {"name": entry.name, "type": word, "description": description, "is_list": entry.is_list}
    if entry.is_complex is not None:
        uniform["is_complex"] = entry.is_complex
    schema: JsonObject = {"type": WORDS[word]}
    if entry.fields:
        schema, uniform["fields"] = _object(entry.fields, below(pointer, "fields"), translation)
    if entry.is_list:
        schema = {"type": "array", "items": schema}
    if description:
        schema["description"] = description
    else:
        translation.warnings.append(Problem(pointer, "Has no description; the model sees only the name."))
    return schema, uniform


def _word(entry: FieldEntry, pointer: str, translation: Translation) -> str:
    """Return graphcap's name for the type of a field, or of a list's items."""
    stated = entry.type.strip().lower()
    is_single = stated in ("list", "array") and not entry.is_list
    if stated in _ALIASES:
        return _ALIASES[stated]
    if entry.fields and not is_single:
        return "dict"
    if stated == "":
        message = f"Is missing ({', '.join(WORDS)}); the field is read as text."
        translation.warnings.append(Problem(pointer, message))
    else:
        hint = " Set is_list to true for a list." if is_single else ""
        translation.problems.append(Problem(pointer, f"Must be one of {', '.join(WORDS)}.{hint}"))
    return "str"


def to_fields(schema: JsonObject) -> list[JsonObject]:
    """Describe the properties of a normalised schema as graphcap fields."""
    return [_described(name, node) for name, node in schema.get("properties", {}).items()]


def _described(name: str, node: JsonObject) -> JsonObject:
    item, is_list = _item(node)
    tidy: JsonObject = {
        "name": name,
        "type": {**_ALIASES, "array": "list"}.get(_type(item), "any"),
        "description": _description_of(node, item),
        "is_list": is_list,
    }
    if item.get("properties"):
        tidy |= {"is_complex": True, "fields": to_fields(item)}
    return tidy


def _item(node: JsonObject) -> tuple[JsonObject, bool]:
    node = _without_null(node)
    items = node.get("items", {})
    return (_without_null(items), True) if _type(node) == "array" and isinstance(items, dict) else (node, False)


def _without_null(node: JsonObject) -> JsonObject:
    """Return the only `anyOf` branch other than null. Return the node if there is not exactly one."""
    named = [branch for branch in node.get("anyOf", ()) if branch != {"type": "null"}]
    return named[0] if len(named) == 1 else node


def _type(node: JsonObject) -> str:
    """Return the type of a node, or of its `enum` or `const`. Null is ignored. "any" if there are several types."""
    stated: Any = node.get("type")
    if stated is None:
        values = node.get("enum", [node["const"]] if "const" in node else [])
        names = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
        stated = {names[type(value)] for value in values if value is not None}
    types = [stated] if isinstance(stated, str) else [name for name in stated if name != "null"]
    return types[0] if len(types) == 1 else "any"


def _description_of(node: JsonObject, item: JsonObject) -> str:
    text = str(node.get("description") or item.get("description") or node.get("title") or "")
    choices = item.get("enum", [])
    if not choices:
        return text
    words = (choice if isinstance(choice, str) else json.dumps(choice) for choice in choices[:_SHOWN_CHOICES])
    more = ", …" if len(choices) > _SHOWN_CHOICES else ""
    return f"{text} One of: {', '.join(words)}{more}.".strip()
