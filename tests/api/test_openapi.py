"""The committed OpenAPI document is the contract; `make docs` writes it."""

import json
from typing import Any

import pytest

from bridge.api import openapi
from bridge.app import build
from bridge.settings import Settings
from tests.service import ROOT


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi.build(build(Settings(_env_file=None)))  # type: ignore[call-arg]


def test_the_committed_document_is_current(document: dict[str, Any]) -> None:
    assert json.loads((ROOT / "openapi.json").read_text("utf-8")) == document, "run `make docs` and review the change"


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_every_reference_has_a_target(document: dict[str, Any]) -> None:
    components = document["components"]
    assert references(document) <= {f"#/components/{kind}/{name}" for kind in components for name in components[kind]}


def test_every_operation_has_a_summary_errors_and_an_example(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        assert path.startswith("/api/v1/")
        for method, operation in operations.items():
            assert operation.get("summary")
            assert {"404", "405", "422", "500"} <= operation["responses"].keys(), path
            assert ("401" in operation["responses"]) == (path != "/api/v1/health"), path
            if method == "post":
                assert operation["requestBody"]["content"]["application/json"]["example"]
    for status, response in document["components"]["responses"].items():
        assert response["content"]["application/json"]["example"]["status"] == int(status)
