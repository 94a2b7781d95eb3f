"""The keywords of JSON Schema draft 2020-12: their order, their valid values, and whether they contain schemas."""

from typing import Any

from jsonschema_rs import validator_for

from perspectives.errors import Problem

_WORDS = """
type title description default examples deprecated readOnly writeOnly
anyOf oneOf allOf not if then else enum const
properties patternProperties required additionalProperties propertyNames minProperties maxProperties
dependentRequired dependentSchemas unevaluatedProperties
prefixItems items contains minContains maxContains unevaluatedItems minItems maxItems uniqueItems
minLength maxLength pattern format contentEncoding contentMediaType
minimum maximum exclusiveMinimum exclusiveMaximum multipleOf
"""
KEYWORDS = tuple(_WORDS.split())
"""All keywords of a normalised schema, in their order in the schema."""

ANNOTATIONS = frozenset({"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"})
"""Keywords that describe a value without constraining it."""

SCHEMA_MAPS = frozenset({"properties", "patternProperties", "dependentSchemas"})
SCHEMA_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
BOOLEANS = frozenset({"additionalProperties", "items", "unevaluatedProperties", "unevaluatedItems"})
"""Keywords whose value may be true or false. Other boolean schemas become {} or {"not": {}}."""
SCHEMAS = BOOLEANS | {"not", "if", "then", "else", "contains", "propertyNames"}
"""Keywords whose value is a single schema."""

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

_TYPES = ("string", "number", "integer", "boolean", "null", "array", "object")
_TEXT = {"type": "string"}
_NAMES = {"type": "array", "items": _TEXT, "uniqueItems": True}
_TYPE = {"anyOf": [{"enum": _TYPES}, {"type": "array", "items": {"enum": _TYPES}, "minItems": 1, "uniqueItems": True}]}

_VALUES: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("type", _TYPE, f"Must be one of {', '.join(_TYPES)}, or a list of them."),
    ("title description pattern format contentEncoding contentMediaType", _TEXT, "Must be text."),
    ("deprecated readOnly writeOnly uniqueItems", {"type": "boolean"}, "Must be true or false."),
    ("examples", {"type": "array"}, "Must be a list."),
    ("enum", {"type": "array", "minItems": 1}, "Must be a list of at least one value."),
    ("anyOf oneOf allOf prefixItems", {"type": "array", "minItems": 1}, "Must be a list of schemas, at least one."),
    ("properties patternProperties dependentSchemas", {"type": "object"}, "Must be an object of schemas by name."),
    ("required", _NAMES, "Must be a list of property names, each once."),
    (
        "dependentRequired",
        {"type": "object", "additionalProperties": _NAMES},
        "Must be an object of lists of property names.",
    ),
    (
        "minLength maxLength minItems maxItems minProperties maxProperties minContains maxContains",
        {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
        "Must be a whole number, 0 or more.",
    ),
    ("minimum maximum exclusiveMinimum exclusiveMaximum", {"type": "number"}, "Must be a number."),
    ("multipleOf", {"type": "number", "exclusiveMinimum": 0}, "Must be a number greater than 0."),
)
_CHECKS = {word: (validator_for(schema), sentence) for words, schema, sentence in _VALUES for word in words.split()}


def value_problem(word: str, value: Any, pointer: str) -> Problem | None:
    """Return the problem with the value of a keyword, or None. Subschemas in the value are not checked."""
    check, sentence = _CHECKS.get(word, (None, ""))
    return None if check is None or check.is_valid(value) else Problem(pointer, sentence)
