"""The committed OpenAPI document is the contract; `make docs` writes it."""

import json
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


@pytest.mark.slow
def test_every_example_works_without_configuration(document: dict[str, Any]) -> None:
    """Send the example of each operation, as "Try it out" does, to a service without keys."""
    with Service() as service, httpx.Client(base_url=service.url, timeout=60, trust_env=False) as client:
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                values = {parameter["name"]: parameter["example"] for parameter in operation.get("parameters", ())}
                content = operation.get("requestBody", {"content": {"application/json": {}}})["content"]
                example = content["application/json"].get("example")
                response = client.request(method, path.format(**values), json=example)
                assert response.status_code == 200, (path, response.text)


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
