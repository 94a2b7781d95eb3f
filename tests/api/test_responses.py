"""Response formats: content negotiation, and the formats in the OpenAPI document."""

import json

import pytest
from starlette.requests import Request

from bridge.api import responses
from bridge.api.responses import EVENTS, JSON, PROBLEM_JSON, TEXT, negotiate
from perspectives.catalog import LIBRARY
from tests.api.streams import API, SAMPLE
from tests.service import ROOT, Service

AXIOS = "application/json, text/plain, */*"

PREFERRED: list[tuple[tuple[str, ...], str]] = [
    ((), JSON),
    (("",), JSON),
    ((AXIOS,), JSON),
    (("text/plain",), TEXT),
    (("*/*, text/plain",), JSON),
    (("application/json, text/event-stream",), JSON),
    (("text/event-stream, application/json",), EVENTS),
    (("text/plain; q=0.5, application/json; q=0.9",), JSON),
    (("text/plain;q=0.9, text/event-stream;q=1.0",), EVENTS),
    (("text/plain;q=0",), JSON),
    (("text/html, text/plain",), TEXT),
    (("text/html", "text/plain"), TEXT),
]


def request(*accept: str) -> Request:
    return Request({"type": "http", "headers": [(b"accept", value.encode()) for value in accept]})


def test_content_negotiation() -> None:
    offered = responses.CAPTION_TYPES
    assert [(accept, negotiate(request(*accept), offered)) for accept, _ in PREFERRED] == PREFERRED
    assert negotiate(request("text/plain, text/event-stream;q=0.1"), responses.ANALYSIS_TYPES) == EVENTS


BODIES = {
    "/perspectives/caption": {"perspective": "alt_text", "image": {"path": SAMPLE}},
    "/perspectives/{name}/caption": {"image": {"path": SAMPLE}},
    "/perspectives/caption-from-path": {"perspective": "alt_text", "image_path": f"/workspace/{SAMPLE}"},
    "/perspectives/analyze": {"perspectives": ["alt_text"], "image": {"path": SAMPLE}},
}


@pytest.mark.parametrize("path", BODIES)
def test_every_route_has_the_documented_formats(service: Service, path: str) -> None:
    document = json.loads((ROOT / "openapi.json").read_text("utf-8"))
    content = document["paths"][f"/api/v1{path}"]["post"]["responses"]["200"]["content"]
    for accept in (JSON, TEXT, EVENTS, AXIOS):
        headers = {"Accept": accept}
        response = service.request("POST", path.format(name="alt_text"), json=BODIES[path], headers=headers)
        expected = accept if accept in content else JSON
        assert (response.status_code, response.headers["content-type"].partition(";")[0]) == (200, expected)
        if expected == EVENTS:
            names = [line for line in response.text.splitlines() if line.startswith("event: ")]
            assert names[-2:] == ["event: result", "event: done"]


def test_types_of_results_as_typescript(service: Service) -> None:
    shipped = len([*LIBRARY.glob("*/*.json")])
    for path, types in (("/alt_text/types.ts", 1), ("/types.ts", shipped)):
        response = service.get(API + path)
        assert (response.status_code, response.headers["content-type"]) == (200, "text/plain; charset=utf-8")
        assert response.text.count("export type ") == types
        assert "  alt_text: AltText;\n" in response.text
    unknown = service.get(f"{API}/alt_txt/types.ts")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_perspective")


def test_the_format_of_a_problem(service: Service) -> None:
    expected = {AXIOS: JSON, f"{PROBLEM_JSON}, {JSON}": PROBLEM_JSON, f"{JSON}, {PROBLEM_JSON}": JSON, TEXT: JSON}
    for accept, media_type in expected.items():
        response = service.get("/perspectives/none", Accept=accept)
        assert (response.status_code, response.headers["content-type"]) == (404, media_type)
        assert response.json()["type"] == "urn:graphcap:problem:unknown_perspective"
