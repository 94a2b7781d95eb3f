"""Translate graphcap's `schema_fields` to JSON Schema and back.

A field is structured (an object) if it has `fields`. Other keys are not reliable: graphcap writes the type `str` with
`is_complex` in one file, and `dict` without `is_complex` in another file. All fields are required, in the file's order.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from perspectives.errors import Problem, below, shortened
from perspectives.json_values import JsonObject

WORDS = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "dict": "object"}
"""Map graphcap's types to the types of JSON Schema."""
_ALIASES = {word: word for word in WORDS}
_ALIASES |= {json_type: word for word, json_type in WORDS.items()} | {"text": "str", "double": "float"}
_KNOWN = {"name", "type", "description", "is_list", "is_complex", "fields"}
_SCHEMA_WORDS = {"type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "properties", "items"}
_SHOWN_CHOICES = 20


@dataclass
class Translation:
    """The result of translating `schema_fields`.

    `schema`: the JSON Schema. `fields`: the fields in a uniform notation. `places`: maps pointers into `schema` to
    pointers into the file.
    """

    schema: JsonObject = field(default_factory=dict)
    fields: list[JsonObject] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)

    def origin(self, pointer: str) -> str:
        """Translate a pointer into `schema` to a pointer into the file."""
        start = pointer
        while start and start not in self.places:
            start = start.rpartition("/")[0]
        origin = self.places.get(start, "")
        return origin + pointer[len(start) :] if origin.endswith("/type") else origin

    def reject(self, pointer: str, message: str) -> None:
        """Record a mistake."""
        self.problems.append(Problem(pointer, message))

    def warn(self, pointer: str, message: str) -> None:
        """Record a warning."""
        self.warnings.append(Problem(pointer, message))


def to_schema(entries: object, pointer: str) -> Translation:
    """Translate `schema_fields` to JSON Schema. `pointer`: the place of `schema_fields` in the file."""
    translation = Translation(places={"": pointer})
    translation.schema, translation.fields = _object(entries, pointer, "", translation)
    return translation


def _object(entries: object, pointer: str, place: str, translation: Translation) -> tuple[JsonObject, list[JsonObject]]:
    properties: JsonObject = {}
    fields: list[JsonObject] = []
    if not isinstance(entries, list) or not entries:
        translation.reject(pointer, "Must be a list of at least one field.")
        return {}, []
    for index, entry in enumerate(entries):
        at = below(pointer, index)
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(entry, dict):
            translation.reject(at, "Must be a field: an object with name, type and description.")
        elif not isinstance(name, str) or not name:
            translation.reject(below(at, "name"), "Must be text: the field's name.")
        elif name in properties:
            translation.reject(below(at, "name"), f"Another field is called '{shortened(name)}' too.")
        else:
            properties[name], tidy = _field(entry, at, below(place, "properties", name), translation)
            fields.append(tidy)
    return {"type": "object", "properties": properties, "required": list(properties)}, fields


def _field(entry: JsonObject, pointer: str, place: str, translation: Translation) -> tuple[JsonObject, JsonObject]:
    translation.places[place] = pointer
    for key in entry:
        if key not in _KNOWN:
            translation.warn(below(pointer, key), "Is not a key of a field; it has no effect.")
    description = _description(entry, pointer, translation)
    is_list = _flag(entry, "is_list", pointer, translation)
    word, inner, fields = _inner(entry, pointer, below(place, "items") if is_list else place, translation)
    tidy: JsonObject = {"name": entry["name"], "type": word, "description": description, "is_list": bool(is_list)}
    if _flag(entry, "is_complex", pointer, translation) is not None:
        tidy["is_complex"] = entry["is_complex"]
    if fields:
        tidy["fields"] = fields
    elif entry.get("is_complex"):
        translation.warn(below(pointer, "is_complex"), "Is true, but the field has no fields.")
    schema = {"type": "array", "items": inner} if is_list else dict(inner)
    return ({**schema, "description": description} if description else schema), tidy


def _inner(
    entry: JsonObject, pointer: str, place: str, translation: Translation
) -> tuple[str, JsonObject, list[JsonObject]]:
    """Return graphcap's type, the JSON Schema and the nested fields of a field, or of its items if it is a list."""
    stated, at = entry.get("type"), below(pointer, "type")
    word = _ALIASES.get(stated.strip().lower()) if isinstance(stated, str) else None
    if entry.get("fields"):
        translation.places[place] = below(pointer, "fields")
        schema, fields = _object(entry["fields"], below(pointer, "fields"), place, translation)
        return word or "dict", schema, fields
    if isinstance(stated, dict):
        translation.places[place] = at
        return "dict", _schema_in_type(stated, at, translation), []
    if stated in (None, ""):
        translation.warn(at, f"Is missing ({', '.join(WORDS)}); the field is read as text.")
    elif word is None:
        hint = " Set is_list to true for a list." if stated in ("list", "array") else ""
        translation.reject(at, f"Must be one of {', '.join(WORDS)}.{hint}")
    return word or "str", {"type": WORDS[word or "str"]}, []


def _schema_in_type(stated: JsonObject, pointer: str, translation: Translation) -> JsonObject:
    """Translate a `type` that is an object. Without a keyword of JSON Schema, the field accepts any object."""
    if not _SCHEMA_WORDS & stated.keys():
        translation.warn(pointer, "Is an object, but not a JSON Schema; the field is read as any object.")
        return {"type": "object"}
    word = _ALIASES.get(stated["type"]) if isinstance(stated.get("type"), str) else None
    return {**stated, "type": WORDS[word]} if word else stated


def _description(entry: JsonObject, pointer: str, translation: Translation) -> str:
    text = entry.get("description")
    if text is not None and not isinstance(text, str):
        translation.reject(below(pointer, "description"), "Must be text.")
    elif not text or not text.strip():
        translation.warn(pointer, "Has no description; the model sees only the name.")
    else:
        return text
    return ""


def _flag(entry: JsonObject, key: str, pointer: str, translation: Translation) -> bool | None:
    value = entry.get(key)
    if value is None or isinstance(value, bool):
        return value
    translation.reject(below(pointer, key), "Must be true or false.")
    return None


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
    """Return the only type of a node other than null, "any" if there is not exactly one.

    Without `type`, the type is derived from the values of `enum` or `const`.
    """
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
