"""The committed OpenAPI document is the contract; `make docs` writes it."""

import json
import re
from typing import Any

import httpx
import pytest

from bridge.api import openapi
from bridge.app import build
from bridge.settings import Settings
from tests.service import ROOT, Service


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi.build(build(Settings(_env_file=None)))  # type: ignore[call-arg]


def test_the_committed_document_is_current(document: dict[str, Any]) -> None:
    assert json.loads((ROOT / "openapi.json").read_text("utf-8")) == document, "run `make docs` and review the change"


def test_names_suit_a_generated_client(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for operations in document["paths"].values() for operation in operations.values()]
    assert {"captionImage", "analyzeImage", "listPerspectives", "testConnection"} <= set(ids)
    assert all(re.fullmatch(r"[a-z]+([A-Z][a-z]+){0,3}", name) for name in ids)
    assert len(set(ids)) == len(ids)
    assert not {"Partial", "Error"} & document["components"]["schemas"].keys()


def test_keys_are_described(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    assert {(scheme["type"], scheme.get("scheme"), scheme.get("name")) for scheme in schemes.values()} == {
        ("http", "bearer", None),
        ("apiKey", None, "X-API-Key"),
    }
    assert document["security"] == [*({name: []} for name in schemes), {}]
    assert document["paths"]["/api/v1/health"]["get"]["security"] == []


@pytest.mark.slow
def test_every_example_works_without_configuration(document: dict[str, Any]) -> None:
    """Send what "Try it out" sends: the example of each operation to a service without keys."""
    with Service() as service, httpx.Client(base_url=service.url, timeout=60, trust_env=False) as client:
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                values = {parameter["name"]: parameter["example"] for parameter in operation.get("parameters", ())}
                content = operation.get("requestBody", {"content": {"application/json": {}}})["content"]
                response = client.request(
                    method, path.format(**values), json=content["application/json"].get("example")
                )
                assert response.status_code == 200, (path, response.text)


def test_the_rest_of_the_api_is_described_beside_the_document(document: dict[str, Any]) -> None:
    page = (ROOT / "docs/api.md").read_text("utf-8")
    for text in (
        "/perspectives/stream",
        "/v1/chat/completions",
        "GET /v1/models",
        "[perspective][@[provider][/model]]",
    ):
        assert text in document["info"]["description"]
    for frame in ("auth", "caption", "analyze", "cancel"):
        assert f'{{"type": "{frame}"' in page
        assert f"`{frame}`" in document["info"]["description"]


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
