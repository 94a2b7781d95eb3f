"""A portable schema with every supported feature, and a simple one."""

from typing import Any

NOTE = {"type": "string", "description": "What it looks like"}
RICH: dict[str, Any] = {
    "type": "object",
    "title": "Scene",
    "properties": {
        "reasoning": {"type": "string", "description": "Look first", "minLength": 1, "maxLength": 2000},
        "caption": {"type": "string", "minLength": 3, "maxLength": 300},
        "mood": {"type": "string", "enum": ["calm", "tense", "unknown"]},
        "style": {"const": "photo"},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "rating": {"type": "integer", "exclusiveMinimum": 0, "maximum": 10},
        "taken": {"type": "string", "format": "date"},
        "safe": {"type": "boolean"},
        "title": {"type": "string", "description": "a property that is called like a keyword"},
        "subtitle": {"type": ["string", "null"]},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 8, "uniqueItems": True},
        "attributes": {"type": "object", "additionalProperties": {"type": "string"}},
        "objects": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "label": {"type": "string"},
                    "box": {
                        "type": "array",
                        "items": {"type": "number", "minimum": 0, "maximum": 1},
                        "minItems": 4,
                        "maxItems": 4,
                    },
                    "note": NOTE,
                },
                "required": ["label", "box"],
                "additionalProperties": False,
            },
        },
        "place": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["reasoning", "caption", "mood", "style", "confidence", "rating", "tags", "attributes", "objects"],
    "additionalProperties": False,
}
PLAIN: dict[str, Any] = {
    "type": "object",
    "properties": {"caption": {"type": "string"}, "note": {"type": "string"}},
    "required": ["caption"],
    "additionalProperties": False,
}
