"""Errors for invalid input: a problem as JSON, with CORS headers and without private data."""

import base64
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.streams import PHOTO
from tests.guard import GUARD
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import Service

ORIGIN = {"Origin": "http://localhost:32200"}
INLINE = {"name": "mine", "prompt": "Look.", "json_schema": {"type": "object", "properties": {"a": {"type": "string"}}}}
CAPTION = "/api/v1/perspectives/caption"
DEAD = "http://127.0.0.1:9"


def send(service: Service, path: str, method: str = "POST", **request: Any) -> httpx.Response:
    headers = {**ORIGIN, **request.pop("headers", {})}
    return httpx.request(method, service.url + path, headers=headers, timeout=GUARD, trust_env=False, **request)


def body(**fields: Any) -> dict[str, Any]:
    return {"perspective": "alt_text", "image": {"path": "datasets/samples/coffee.jpg"}, **fields}


def image(**fields: str) -> dict[str, Any]:
    return body(image=fields)


def provider(**config: Any) -> dict[str, Any]:
    return body(model="m", provider_config=config)


def check(response: httpx.Response, status: int, code: str, hint: str = "") -> dict[str, Any]:
    """Assert status, code and the format of a problem, and return it."""
    problem: dict[str, Any] = response.json()
    assert (response.status_code, problem["status"], problem["code"]) == (status, status, code), problem
    assert response.headers["content-type"] == "application/json"
    assert response.headers["access-control-allow-origin"] == ORIGIN["Origin"]
    assert response.headers["x-request-id"] == problem["instance"]
    assert problem["detail"] == problem["message"]
    assert problem["detail"].strip().endswith((".", "?")), problem["detail"]
    assert hint in problem["detail"], problem["detail"]
    assert "Traceback" not in response.text
    assert str(Path.home()) not in response.text
    return problem


TRUNCATED = base64.b64encode(PHOTO.read_bytes()[: PHOTO.stat().st_size // 2]).decode()
VARIABLES = [{"name": name, "required": True} for name in "ab"]
UNSAFE_SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "pattern": "("}, "b": {"$ref": "http://x/"}}}

CASES: list[tuple[dict[str, Any], int, str, str]] = [
    (body(perspective="alt_txt"), 404, "unknown_perspective", "alt_text"),
    (body(provider_config={"kind": "acme"}), 422, "invalid_request", "gemini"),
    (body(provider="vllm"), 422, "invalid_request", "model"),
    (body(temprature=1), 422, "invalid_request", "temprature"),
    (body(temperature="warm"), 422, "invalid_request", "temperature"),
    (body(resize_resolution="HUGE"), 422, "invalid_request", "resize_resolution"),
    (body(image="datasets/x.jpg"), 422, "invalid_request", '{"path": …}'),
    ({"perspective": "alt_text"}, 422, "invalid_request", "image"),
    (image(path="a.jpg", url="http://x/"), 422, "invalid_request", "path and url"),
    (image(path="../README.md"), 403, "path_refused", ""),
    (image(path="datasets/none.jpg"), 404, "image_not_found", ""),
    (image(path="datasets/samples/README.md"), 415, "unsupported_image", ""),
    (image(base64="!!!"), 422, "invalid_image", ""),
    (image(base64=TRUNCATED), 422, "invalid_image", ""),
    (image(base64="A" * 4_100_000), 413, "image_too_large", ""),
    (image(url="http://127.0.0.1:9/a.jpg"), 403, "address_refused", ""),
    (image(url="http://nonexistent.invalid/a.jpg"), 422, "image_unreachable", ""),
    (body(perspective={"name": "x", "prompt": "p"}), 422, "invalid_perspective", ""),
    (body(perspective={**INLINE, "prompt": "{a} {b}", "variables": VARIABLES}), 422, "missing_variables", "a, b"),
    (body(perspective={**INLINE, "json_schema": UNSAFE_SCHEMA}), 422, "invalid_perspective", ""),
    (provider(kind="vllm", base_url=DEAD), 502, "provider_unreachable", ""),
    (provider(kind=7, api_key="sk-secret-in-a-bad-body", base_url=5), 422, "invalid_request", "kind"),
]


def test_invalid_requests_are_rejected(service: Service) -> None:
    for fields, status, code, hint in CASES:
        check(send(service, "/api/v1/perspectives/caption", json=fields), status, code, hint)
    assert "sk-secret" not in service.log


POINTERS: list[tuple[str, dict[str, Any], str]] = [
    ("/perspectives/caption-from-path", {"perspective": "alt_text", "image_path": "x" * 3000}, "image_path"),
    ("/providers/builtin/test-connection", {"kind": "builtin", "model": {"a": 1}}, "model"),
    ("/providers/builtin/models", {"default_model": {"a": 1}}, "default_model"),
]


def test_the_failure_of_the_fallback_is_reported(service: Service, vllm_server: OpenAIServer) -> None:
    vllm_server.default = b.Status(401)
    last = {"model": "m", "provider_config": {"kind": "openai", "base_url": "http://169.254.169.254"}}
    first = {"model": vllm_server.models[0], "provider_config": {"kind": "vllm", "base_url": vllm_server.url}}
    response = send(service, CAPTION, json=body(**first, fallbacks=[last]))
    check(response, 403, "address_refused", "169.254.169.254")
    assert [attempt["outcome"] for attempt in response.json()["attempts"]] == ["auth_failed", "unreachable"]


def test_every_route_names_the_field_at_fault(service: Service) -> None:
    for path, fields, name in POINTERS:
        problem = check(send(service, path, json=fields), 422, "invalid_request")
        assert problem["errors"][0]["pointer"] == f"/{name}"
    schema = body(perspective={**INLINE, "json_schema": UNSAFE_SCHEMA})
    problem = check(send(service, "/perspectives/caption", json=schema), 422, "invalid_perspective")
    pointers = [error["pointer"].split("/")[:4] for error in problem["errors"]]
    assert pointers == [["", "json_schema", "properties", name] for name in "ab"]


ROUTES = [
    ("GET", "/nothing/here", 404, "not_found"),
    ("GET", "/perspectives/caption", 405, "method_not_allowed"),
    ("GET", "/perspectives/modules/none", 404, "unknown_module"),
    ("POST", "/providers//test-connection", 404, "unknown_provider"),
]


@pytest.mark.parametrize(("method", "path", "status", "code"), ROUTES)
def test_unknown_paths_and_methods(service: Service, method: str, path: str, status: int, code: str) -> None:
    response = send(service, path, method)
    check(response, status, code)
    assert status != 405 or response.headers["allow"]


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b'"x"', b"\xff\xfe", b"{" * 100_000, b'{"image": ,}'])
def test_bodies_that_are_not_json_objects_are_rejected(service: Service, content: bytes) -> None:
    hint = "line 1 column" if b"image" in content else ""
    check(send(service, "/perspectives/caption", content=content), 400, "invalid_json", hint)


def test_a_body_over_the_limit_is_rejected_while_it_is_received(service: Service) -> None:
    chunks = (b" " * 100_000 for _ in range(100))
    for content in (b" " * 10_000_000, chunks):
        check(send(service, "/perspectives/caption", content=content), 413, "body_too_large")


def test_errors_in_multipart_bodies_are_named(service: Service) -> None:
    photo = PHOTO.read_bytes()
    form = "multipart/form-data"
    text = b'--x\r\nContent-Disposition: form-data; name="perspective"\r\n\r\n\\ud800+2AA-\r\n--x--\r\n'
    charsets = ("utf-7", "unicode_escape", "idna", "utf-16", "hex", "none-such", "", "utf-8; charset=utf-7")
    requests: list[tuple[dict[str, Any], str]] = [
        ({"files": [("image", ("a.jpg", photo)), ("image", ("b.jpg", photo))]}, "two images"),
        ({"files": {"image": ("a.jpg", photo), "colour": (None, "red")}}, "colour"),
        ({"files": {"image": (None, "not a file")}}, "as a file"),
        ({"files": {"file": ("a.jpg", photo)}}, "as the part 'image'"),
        ({"content": b"--x\r\n", "headers": {"Content-Type": form}}, "multipart"),
        *(
            ({"content": text, "headers": {"Content-Type": f"{form}; boundary=x; charset={charset}"}}, "UTF-8")
            for charset in charsets
        ),
    ]
    for request, hint in requests:
        check(send(service, "/perspectives/alt_text/caption", **request), 422, "invalid_request", hint)
