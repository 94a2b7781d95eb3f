"""TypeScript types of schemas; tests/clients/javascript compiles those of every shipped perspective."""

from typing import Any

import pytest

from perspectives import typescript

TYPES: list[tuple[Any, str]] = [
    (True, "unknown"),
    ({"type": "integer"}, "number"),
    ({"type": ["string", "null"]}, "(string | null)"),
    ({"const": "a\n"}, '"a\\n"'),
    ({"type": "string", "enum": ["a", None, 1.5, [True], {"x y": 2}]}, '("a" | null | 1.5 | [true] | {"x y": 2})'),
    ({"type": "array", "items": {"type": ["number", "integer", "null"]}}, "(number | null)[]"),
    ({"type": "array", "prefixItems": [{"type": "string"}], "items": False, "minItems": 1}, "[string]"),
    ({"type": "array", "prefixItems": [{"type": "string"}]}, "[(string)?, ...unknown[]]"),
    ({"type": "object", "additionalProperties": {"type": "string"}}, "Record<string, string>"),
    ({"properties": {"a": True, "b-c": {}}, "required": ["a"]}, '{\n  a: unknown;\n  "b-c"?: unknown;\n}'),
    ({"properties": {"a": {"description": "Not\n*/ code."}}}, "{\n  /** Not *\\/ code. */\n  a?: unknown;\n}"),
    ({"anyOf": [{"type": "string"}, {"type": "null"}], "allOf": [{"type": "string"}]}, "((string | null) & string)"),
]


@pytest.mark.parametrize(("schema", "expected"), TYPES)
def test_types(schema: Any, expected: str) -> None:
    assert typescript.type_of(schema) == expected
