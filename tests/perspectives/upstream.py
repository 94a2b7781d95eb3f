"""Files shaped like graphcap's (client-contract §6), in our own words: one for each oddity."""

from typing import Any

PLAIN: dict[str, Any] = {
    "name": "mood_notes",
    "display_name": "Mood Notes",
    "version": "1",
    "prompt": "Write down the mood of the picture.",
    "schema_fields": [
        {"name": "evidence", "type": "str", "description": "What carries the mood.", "is_list": True},
        {"name": "mood", "type": "str", "description": "One sentence.", "is_list": False},
    ],
    "table_columns": [{"name": "Part", "style": "cyan"}, {"name": "Text", "style": "green"}],
    "context_template": "{mood}",
    "module": "core",
    "type": "perspective",
    "tags": ["mood"],
    "description": "The mood and what carries it.",
    "deprecated": False,
    "priority": 20,
}

STR_WITH_FIELDS: dict[str, Any] = {
    "name": "found_tags",
    "type": "str",
    "description": "Everything found.",
    "is_list": True,
    "is_complex": True,
    "fields": [
        {"name": "tag", "type": "str", "description": "A word."},
        {"name": "confidence", "type": "float", "description": "0 to 1."},
    ],
}

DICT_WITH_FIELDS: dict[str, Any] = {
    "name": "edges",
    "type": "dict",
    "description": "What stands where.",
    "is_list": True,
    "fields": [
        {"name": "from_node", "type": "str", "description": "Start."},
        {"name": "to_node", "type": "str", "description": "End."},
    ],
}


def with_fields(*fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The plain file with other fields and keys; None removes a key."""
    changed = {**PLAIN, "schema_fields": list(fields), "context_template": "", **more}
    return {key: value for key, value in changed.items() if value is not None}
