"""The keywords of JSON Schema draft 2020-12: their values, their order, and which of them contain schemas."""

from typing import Any

from jsonschema_rs import validator_for

from perspectives.errors import Problem

TYPES = ("string", "number", "integer", "boolean", "null", "array", "object")
_ANY: dict[str, Any] = {}
_SCHEMA: dict[str, Any] = {}
_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_FLAG = {"type": "boolean"}
_LIST = {"type": "array"}
_CHOICES = {"type": "array", "minItems": 1}
_COUNT = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
_DIVISOR = {"type": "number", "exclusiveMinimum": 0}
_NAMES = {"type": "array", "items": _TEXT, "uniqueItems": True}
_TYPE = {"anyOf": [{"enum": TYPES}, {"type": "array", "items": {"enum": TYPES}, "minItems": 1, "uniqueItems": True}]}
_SCHEMAS = {"type": "array", "minItems": 1}
_NAMED_SCHEMAS = {"type": "object"}
_NAMED_NAMES = {"type": "object", "additionalProperties": _NAMES}

_SENTENCES = (
    (_TEXT, "Must be text."),
    (_NUMBER, "Must be a number."),
    (_FLAG, "Must be true or false."),
    (_LIST, "Must be a list."),
    (_CHOICES, "Must be a list of at least one value."),
    (_COUNT, "Must be a whole number, 0 or more."),
    (_DIVISOR, "Must be a number greater than 0."),
    (_NAMES, "Must be a list of property names, each once."),
    (_TYPE, f"Must be one of {', '.join(TYPES)}, or a list of them."),
    (_SCHEMAS, "Must be a list of schemas, at least one."),
    (_NAMED_SCHEMAS, "Must be an object of schemas by name."),
    (_NAMED_NAMES, "Must be an object of lists of property names."),
)

_VALUES: dict[str, dict[str, Any]] = {
    "type": _TYPE,
    "title": _TEXT,
    "description": _TEXT,
    "default": _ANY,
    "examples": _LIST,
    "deprecated": _FLAG,
    "readOnly": _FLAG,
    "writeOnly": _FLAG,
    "anyOf": _SCHEMAS,
    "oneOf": _SCHEMAS,
    "allOf": _SCHEMAS,
    "not": _SCHEMA,
    "if": _SCHEMA,
    "then": _SCHEMA,
    "else": _SCHEMA,
    "enum": _CHOICES,
    "const": _ANY,
    "properties": _NAMED_SCHEMAS,
    "patternProperties": _NAMED_SCHEMAS,
    "required": _NAMES,
    "additionalProperties": _SCHEMA,
    "propertyNames": _SCHEMA,
    "minProperties": _COUNT,
    "maxProperties": _COUNT,
    "dependentRequired": _NAMED_NAMES,
    "dependentSchemas": _NAMED_SCHEMAS,
    "unevaluatedProperties": _SCHEMA,
    "prefixItems": _SCHEMAS,
    "items": _SCHEMA,
    "contains": _SCHEMA,
    "minContains": _COUNT,
    "maxContains": _COUNT,
    "unevaluatedItems": _SCHEMA,
    "minItems": _COUNT,
    "maxItems": _COUNT,
    "uniqueItems": _FLAG,
    "minLength": _COUNT,
    "maxLength": _COUNT,
    "pattern": _TEXT,
    "format": _TEXT,
    "contentEncoding": _TEXT,
    "contentMediaType": _TEXT,
    "minimum": _NUMBER,
    "maximum": _NUMBER,
    "exclusiveMinimum": _NUMBER,
    "exclusiveMaximum": _NUMBER,
    "multipleOf": _DIVISOR,
}

KEYWORDS = tuple(_VALUES)
"""Every keyword of a normalised schema, in the order in which it is written."""

ANNOTATIONS = frozenset({"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"})
"""Keywords that explain and do not constrain."""

SCHEMA_MAPS = frozenset({"properties", "patternProperties", "dependentSchemas"})
SCHEMA_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
SCHEMAS = frozenset(word for word, value in _VALUES.items() if value is _SCHEMA)
"""Keywords whose value is a single schema."""

BOOLEANS = frozenset({"additionalProperties", "items", "unevaluatedProperties", "unevaluatedItems"})
"""Keywords whose value stays true or false; other boolean schemas become {} or {"not": {}}."""

IN_PLACE = frozenset({"anyOf", "oneOf", "allOf", "not", "if", "then", "else", "dependentSchemas"})
"""Keywords whose schemas apply to the same value."""

BRANCHING = IN_PLACE | {"patternProperties", "propertyNames", "contains", "unevaluatedProperties", "unevaluatedItems"}
"""Keywords through which several schemas apply to one value."""

DROPPED = frozenset(
    {
        *("$schema", "$id", "$comment", "$defs", "definitions", "$anchor", "$dynamicAnchor", "$vocabulary"),
        *("contentSchema", "discriminator", "example", "enumNames", "enumDescriptions", "markdownDescription"),
        *("propertyOrdering", "$ref", "$dynamicRef"),
    }
)
"""Keywords that are read but not kept, and annotations of common tools."""

_CHECKS = {id(schema): (validator_for(schema), sentence) for schema, sentence in _SENTENCES}


def value_problem(word: str, value: Any, pointer: str) -> Problem | None:
    """Return what is wrong with the value of a keyword. Schemas in it are not checked."""
    check, sentence = _CHECKS.get(id(_VALUES[word]), (None, ""))
    if check is None or check.is_valid(value):
        return None
    return Problem(pointer, sentence)
