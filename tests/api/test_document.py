"""The committed OpenAPI document is the contract: it drifts only knowingly (`make docs` writes it)."""

import json
from typing import Any

import pytest

from bridge.api import document
from bridge.app import build
from bridge.settings import Settings
from tests.service import ROOT


@pytest.fixture(scope="module")
def built() -> dict[str, Any]:
    return document.build(build(Settings(_env_file=None)))  # type: ignore[call-arg]


def test_the_committed_document_has_not_drifted(built: dict[str, Any]) -> None:
    assert json.loads((ROOT / "openapi.json").read_text("utf-8")) == built, "run `make docs` and review the difference"


def test_every_path_is_under_the_prefix(built: dict[str, Any]) -> None:
    assert all(path.startswith("/api/v1/") for path in built["paths"])


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        found = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return found.union(*(references(one) for one in value.values()))
    if isinstance(value, list):
        return set().union(*(references(one) for one in value))
    return set()


def test_every_reference_leads_somewhere(built: dict[str, Any]) -> None:
    components = built["components"]
    known = {f"#/components/{kind}/{name}" for kind in components for name in components[kind]}
    assert references(built) <= known


def test_every_operation_tells_of_errors_with_an_example(built: dict[str, Any]) -> None:
    for path, operations in built["paths"].items():
        for operation in operations.values():
            assert operation.get("summary")
            errors = {status for status in operation["responses"] if status >= "400"}
            assert {"404", "422", "500"} <= errors, path
    for status, response in built["components"]["responses"].items():
        assert response["content"]["application/json"]["example"]["status"] == int(status)


def test_only_what_is_open_wants_no_key(built: dict[str, Any]) -> None:
    for path, operations in built["paths"].items():
        for operation in operations.values():
            assert ("401" in operation["responses"]) == (path != "/api/v1/health"), path
            assert "405" in operation["responses"]


def test_every_post_shows_an_example(built: dict[str, Any]) -> None:
    for operations in built["paths"].values():
        if "post" in operations:
            assert operations["post"]["requestBody"]["content"]["application/json"]["example"]
