"""The keywords of JSON Schema draft 2020-12: their order, their valid values, and whether they contain schemas."""

from typing import Any

from jsonschema_rs import ValidationError, validator_for

from perspectives.errors import Problem
from perspectives.messages import MASK, problems_of

_WORDS = """
type title description default examples deprecated readOnly writeOnly
anyOf oneOf allOf not if then else enum const
properties patternProperties required additionalProperties propertyNames minProperties maxProperties
dependentRequired dependentSchemas unevaluatedProperties
prefixItems items contains minContains maxContains unevaluatedItems minItems maxItems uniqueItems
minLength maxLength pattern format contentEncoding contentMediaType
minimum maximum exclusiveMinimum exclusiveMaximum multipleOf
"""
KEYWORDS = tuple(_WORDS.split())  # all keywords of a normalised schema, in their order in the schema

ANNOTATIONS = frozenset({"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"})
"""Keywords that describe a value without constraining it."""

SCHEMA_MAPS = frozenset({"properties", "patternProperties", "dependentSchemas"})
SCHEMA_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
BOOLEANS = frozenset({"additionalProperties", "items", "unevaluatedProperties", "unevaluatedItems"})
"""Keywords whose value may be true or false. Other boolean schemas become {} or {"not": {}}."""
SCHEMAS = BOOLEANS | {"not", "if", "then", "else", "contains", "propertyNames"}  # keywords whose value is a schema

IN_PLACE = frozenset({"anyOf", "oneOf", "allOf", "not", "if", "then", "else", "dependentSchemas"})
"""Keywords whose subschemas apply to the same value as the schema that contains the keyword."""
BRANCHING = IN_PLACE | {"patternProperties", "propertyNames", "contains", "unevaluatedProperties", "unevaluatedItems"}
"""Keywords that can make several subschemas apply to one value."""

_DROPPED_WORDS = """
$schema $id $comment $defs definitions $anchor $dynamicAnchor $vocabulary $ref $dynamicRef contentSchema
discriminator example enumNames enumDescriptions markdownDescription propertyOrdering
"""
DROPPED = frozenset(_DROPPED_WORDS.split())
"""Keywords that are accepted but removed, including annotations of common tools."""

_TYPES = ["string", "number", "integer", "boolean", "null", "array", "object"]
_TEXT = {"type": "string"}
_LIST = {"type": "array", "minItems": 1}
_NAMES = {"type": "array", "items": _TEXT, "uniqueItems": True}
_COUNT = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
_LISTED_TYPES = {"items": {"enum": _TYPES}, "minItems": 1, "uniqueItems": True}
_VALUES: dict[str, dict[str, Any]] = {
    "type": {"if": {"type": "array"}, "then": _LISTED_TYPES, "else": {"enum": _TYPES}},
    "title description pattern format contentEncoding contentMediaType": _TEXT,
    "deprecated readOnly writeOnly uniqueItems": {"type": "boolean"},
    "examples": {"type": "array"},
    "enum anyOf oneOf allOf prefixItems": _LIST,
    "properties patternProperties dependentSchemas": {"type": "object"},
    "required": _NAMES,
    "dependentRequired": {"type": "object", "additionalProperties": _NAMES},
    "minLength maxLength minItems maxItems minProperties maxProperties minContains maxContains": _COUNT,
    "minimum maximum exclusiveMinimum exclusiveMaximum": {"type": "number"},
    "multipleOf": {"type": "number", "exclusiveMinimum": 0},
}
"""Map keywords to a schema of their values, in which subschemas may be any value."""
_CHECKS = {word: validator_for(schema, mask=MASK) for words, schema in _VALUES.items() for word in words.split()}


def value_problem(word: str, value: Any, pointer: str) -> Problem | None:
    """Return the first problem with the value of a keyword, or None. Subschemas in the value are not checked."""
    try:
        if word in _CHECKS:
            _CHECKS[word].validate(value)
    except ValidationError as error:
        return next(problems_of(error, pointer))
    return None
