"""graphcap's `schema_fields` <-> JSON Schema.

Having `fields` is the only reliable sign of a structured field: graphcap writes the same thing as `str` with
`is_complex` in one file and as `dict` without it in the next, and its own loader drops both (client-contract
§6 of the bridge). All fields are required, their order is the file's.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from perspectives.errors import Problem, below
from perspectives.plain import JsonObject

WORDS = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "dict": "object"}
"""graphcap's words for types, and what JSON Schema calls them."""

_ALIASES = {word: word for word in WORDS} | {
    "string": "str",
    "text": "str",
    "integer": "int",
    "number": "float",
    "double": "float",
    "boolean": "bool",
    "object": "dict",
}
_KNOWN = {"name", "type", "description", "is_list", "is_complex", "fields"}
_SCHEMA_WORDS = {"type", "enum", "const", "anyOf", "properties", "items"}


@dataclass
class Translation:
    """What `schema_fields` say: as JSON Schema, and as fields in tidy writing.

    `places` tells where in the file a place of the schema comes from.
    """

    schema: JsonObject = field(default_factory=dict)
    fields: list[JsonObject] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)

    def origin(self, pointer: str) -> str:
        """The pointer into the file for a pointer into `schema`."""
        start = pointer
        while start and start not in self.places:
            start = start.rpartition("/")[0]
        origin = self.places.get(start, "")
        return origin + pointer[len(start) :] if origin.endswith("/type") else origin


def to_schema(given: object, pointer: str) -> Translation:
    """Translate `schema_fields`, found at `pointer`."""
    told = Translation(places={"": pointer})
    told.schema, told.fields = _object(given, pointer, "", told)
    return told


def _object(given: object, pointer: str, place: str, told: Translation) -> tuple[JsonObject, list[JsonObject]]:
    if not isinstance(given, list) or not given:
        told.problems.append(Problem(pointer, "Must be a list of at least one field."))
        return {}, []
    properties: JsonObject = {}
    fields: list[JsonObject] = []
    for index, entry in enumerate(given):
        at = below(pointer, index)
        name = _name(entry, at, properties, told)
        if name is not None:
            properties[name], tidy = _field(entry, name, at, below(place, "properties", name), told)
            fields.append(tidy)
    return {"type": "object", "properties": properties, "required": list(properties)}, fields


def _name(entry: object, pointer: str, taken: JsonObject, told: Translation) -> str | None:
    if not isinstance(entry, dict):
        told.problems.append(Problem(pointer, "Must be a field: an object with name, type and description."))
        return None
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        told.problems.append(Problem(below(pointer, "name"), "Must be text: the field's name."))
        return None
    if name in taken:
        told.problems.append(Problem(below(pointer, "name"), f"Another field is called '{name}' too."))
        return None
    return name


def _field(entry: JsonObject, name: str, pointer: str, place: str, told: Translation) -> tuple[JsonObject, JsonObject]:
    told.places[place] = pointer
    for key in entry:
        if key not in _KNOWN:
            told.warnings.append(Problem(below(pointer, key), "Is not a key of a field; it has no effect."))
    description = _description(entry, pointer, told)
    is_list = _flag(entry, "is_list", pointer, told)
    inner_place = below(place, "items") if is_list else place
    word, inner, fields = _inner(entry, pointer, inner_place, told)
    tidy: JsonObject = {"name": name, "type": word, "description": description, "is_list": bool(is_list)}
    if _flag(entry, "is_complex", pointer, told) is not None:
        tidy["is_complex"] = entry["is_complex"]
    if fields:
        tidy["fields"] = fields
    elif entry.get("is_complex"):
        told.warnings.append(Problem(below(pointer, "is_complex"), "Is true, but the field has no fields."))
    schema = {"type": "array", "items": inner} if is_list else dict(inner)
    return ({**schema, "description": description} if description else schema), tidy


def _inner(entry: JsonObject, pointer: str, place: str, told: Translation) -> tuple[str, JsonObject, list[JsonObject]]:
    """One item of the field: its word, its schema and its own fields."""
    if entry.get("fields"):
        told.places[place] = below(pointer, "fields")
        word = entry.get("type")
        schema, fields = _object(entry["fields"], below(pointer, "fields"), place, told)
        return _ALIASES.get(word, "dict") if isinstance(word, str) else "dict", schema, fields
    given = entry.get("type")
    at = below(pointer, "type")
    if isinstance(given, dict):
        told.places[place] = at
        return "dict", _schema_in_type(given, at, told), []
    word = _ALIASES.get(given.strip().lower()) if isinstance(given, str) else None
    if word is None:
        told.warnings.append(Problem(at, f"Is not a known type ({', '.join(WORDS)}); the field is taken as text."))
        word = "str"
    return word, {"type": WORDS[word]}, []


def _schema_in_type(given: JsonObject, pointer: str, told: Translation) -> JsonObject:
    """A `type` that is an object: JSON Schema if it looks like it, else any object."""
    if not _SCHEMA_WORDS & set(given):
        told.warnings.append(Problem(pointer, "Is an object, but not a JSON Schema; the field is taken as any object."))
        return {"type": "object"}
    word = _ALIASES.get(given["type"]) if isinstance(given.get("type"), str) else None
    return {**given, "type": WORDS[word]} if word else given


def _description(entry: JsonObject, pointer: str, told: Translation) -> str:
    given = entry.get("description")
    if isinstance(given, str) and given.strip():
        return given
    if given is None or isinstance(given, str):
        told.warnings.append(Problem(pointer, "Has no description; the model sees only the name."))
    else:
        told.problems.append(Problem(below(pointer, "description"), "Must be text."))
    return ""


def _flag(entry: JsonObject, key: str, pointer: str, told: Translation) -> bool | None:
    given = entry.get(key)
    if given is None or isinstance(given, bool):
        return given
    told.problems.append(Problem(below(pointer, key), "Must be true or false."))
    return None


def to_fields(schema: JsonObject) -> list[JsonObject]:
    """Tell a portable object schema as graphcap fields, for clients that know nothing else."""
    return [_told(name, node) for name, node in schema.get("properties", {}).items()]


def _told(name: str, node: JsonObject) -> JsonObject:
    item, is_list = _item(node)
    tidy: JsonObject = {
        "name": name,
        "type": _word(item),
        "description": _description_of(node, item),
        "is_list": is_list,
    }
    if item.get("properties"):
        tidy |= {"is_complex": True, "fields": to_fields(item)}
    return tidy


def _item(node: JsonObject) -> tuple[JsonObject, bool]:
    node = _without_null(node)
    return (_without_null(node.get("items", {})), True) if _type(node) == "array" else (node, False)


def _without_null(node: JsonObject) -> JsonObject:
    """The only alternative beside null, if there is one."""
    named = [branch for branch in node.get("anyOf", []) if branch != {"type": "null"}]
    return named[0] if len(named) == 1 else node


def _type(node: JsonObject) -> str:
    stated: Any = node.get("type", "any")
    words = stated if isinstance(stated, list) else [stated]
    return str(next((word for word in words if word != "null"), "null"))


def _word(node: JsonObject) -> str:
    """The graphcap word; "list" and "any" for what it has no word for."""
    return {**_ALIASES, "array": "list", "null": "any"}.get(_type(node), "any")


def _description_of(node: JsonObject, item: JsonObject) -> str:
    text = str(node.get("description") or item.get("description") or node.get("title") or "")
    choices = item.get("enum", [])
    if not choices:
        return text
    words = (choice if isinstance(choice, str) else json.dumps(choice) for choice in choices[:20])
    listed = ", ".join(words) + (", …" if len(choices) > 20 else "")
    return f"{text} One of: {listed}.".strip()
