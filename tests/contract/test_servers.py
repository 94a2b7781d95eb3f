"""The schema rules of the test servers reject something: a rule that accepts anything would prove nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.schemas import RICH
from tests.servers.schemas import anthropic_fault, gemini_fault, strict_fault, vllm_fault

TEXT = {"type": "string"}


def closed(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


REJECTED: dict[Callable[[dict[str, Any]], str | None], list[dict[str, Any]]] = {
    strict_fault: [
        *(RICH, TEXT, {"anyOf": [closed(a=TEXT)], "type": "object"}, {"type": "object", "properties": {"a": TEXT}}),
        *(closed(a={**TEXT, **words}) for words in ({"minLength": 1}, {"format": "uri"}, {"pattern": "^(?!x)"})),
        *(closed(a=node) for node in ({}, {"allOf": [TEXT]}, {"type": "array"}, {"type": "object"})),
    ],
    gemini_fault: [
        *(closed(a={"const": 1}), {"title": "x", **closed()}, closed(a={"type": "integer", "exclusiveMinimum": 0})),
        *(closed(a={"enum": [*range(100)]}), closed(a={"type": "array", "items": TEXT, "maxItems": 500})),
    ],
    anthropic_fault: [
        *(RICH, {"type": "object", "properties": {"a": TEXT}}, closed(a={**TEXT, "maxLength": 9}), closed(a={})),
        *(closed(a=node) for node in ({"type": "array", "minItems": 2}, {**TEXT, "pattern": "^(?!x)"})),
        closed(**{f"a{number}": {"type": ["string", "null"]} for number in range(17)}),
    ],
    vllm_fault: [closed(a={"type": "array", "uniqueItems": True})],
}


@pytest.mark.parametrize("fault", REJECTED)
def test_a_schema_that_the_real_server_rejects_has_a_fault(fault: Callable[[dict[str, Any]], str | None]) -> None:
    assert [schema for schema in REJECTED[fault] if fault(schema) is None] == []
    assert fault(closed(title=TEXT)) is None
