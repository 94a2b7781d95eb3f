"""What bad input gets: one readable error each, with its code, as JSON, with CORS headers, and nothing leaked."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service import WORKSPACE, Service

PHOTO = WORKSPACE / "datasets/samples/coffee.jpg"
ORIGIN = {"Origin": "http://localhost:32200"}
INLINE = {"name": "mine", "prompt": "Look.", "json_schema": {"type": "object", "properties": {"a": {"type": "string"}}}}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(GRAPHCAP_MAX_IMAGE_BYTES="3000000") as running:
        yield running


def post(service: Service, path: str, **request: Any) -> httpx.Response:
    headers = {**ORIGIN, **request.pop("headers", {})}
    return httpx.post(service.url + path, headers=headers, timeout=30, trust_env=False, **request)


def body(**fields: Any) -> dict[str, Any]:
    return {"perspective": "alt_text", "image": {"path": "datasets/samples/coffee.jpg"}, **fields}


def truncated() -> str:
    return base64.b64encode(PHOTO.read_bytes()[: PHOTO.stat().st_size // 2]).decode()


CASES: list[tuple[str, dict[str, Any], int, str, str]] = [
    ("unknown perspective", body(perspective="alt_txt"), 404, "unknown_perspective", "alt_text"),
    ("unknown provider", body(provider="opnai", model="m"), 404, "unknown_provider", "openai"),
    ("unknown kind", body(provider_config={"kind": "acme"}), 422, "invalid_request", "gemini"),
    ("no model", body(provider="vllm"), 422, "invalid_request", "Name a model"),
    ("unknown field", body(temprature=1), 422, "invalid_request", "temprature"),
    ("two unknown fields", body(a=1, b=2), 422, "invalid_request", "b: is not a field"),
    ("wrong type", body(temperature="warm"), 422, "invalid_request", "temperature"),
    ("out of range", body(max_tokens=-1), 422, "invalid_request", "max_tokens"),
    ("unknown preset", body(resize_resolution="HUGE"), 422, "invalid_request", "resize_resolution"),
    ("no image", {"perspective": "alt_text"}, 422, "invalid_request", "Give one image"),
    ("two images", body(image={"path": "a.jpg", "url": "http://x/"}), 422, "invalid_request", "path and url"),
    ("outside", body(image={"path": "../README.md"}), 403, "path_refused", ""),
    ("outside, absent", body(image={"path": "../absent"}), 403, "path_refused", ""),
    ("absolute", body(image={"path": "/etc/passwd"}), 403, "path_refused", ""),
    ("missing file", body(image={"path": "datasets/none.jpg"}), 404, "image_not_found", ""),
    ("not an image", body(image={"path": "datasets/samples/README.md"}), 415, "unsupported_image", ""),
    ("not base64", body(image={"base64": "!!!"}), 422, "invalid_image", ""),
    ("truncated", body(image={"base64": truncated()}), 422, "invalid_image", ""),
    ("too large", body(image={"base64": "A" * 4_100_000}), 413, "image_too_large", ""),
    ("private address", body(image={"url": "http://127.0.0.1:9/a.jpg"}), 403, "address_refused", ""),
    ("unreachable", body(image={"url": "http://nonexistent.invalid/a.jpg"}), 422, "image_unreachable", ""),
    ("not http", body(image={"url": "file:///etc/passwd"}), 422, "image_unreachable", ""),
    ("invalid inline", body(perspective={"name": "x", "prompt": "p"}), 422, "invalid_perspective", ""),
    (
        "missing variables",
        body(
            perspective={
                **INLINE,
                "prompt": "{a} {b}",
                "variables": [{"name": "a", "required": True}, {"name": "b", "required": True}],
            }
        ),
        422,
        "missing_variables",
        "a",
    ),
    (
        "dead provider",
        body(model="m", provider_config={"kind": "vllm", "base_url": "http://127.0.0.1:9"}),
        502,
        "provider_unreachable",
        "",
    ),
    (
        "base url is none",
        body(model="m", provider_config={"kind": "vllm", "base_url": "ftp://x"}),
        422,
        "invalid_request",
        "",
    ),
]


@pytest.mark.parametrize(
    ("request_body", "status", "code", "hint"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_bad_input_gets_one_readable_error(
    service: Service, request_body: dict[str, Any], status: int, code: str, hint: str
) -> None:
    answer = post(service, "/api/v1/perspectives/caption", json=request_body)
    told = answer.json()
    assert (answer.status_code, told["code"]) == (status, code), told
    check_shape(answer)
    assert hint in told["detail"]


def check_shape(answer: httpx.Response) -> None:
    told = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] == ORIGIN["Origin"]
    assert answer.headers["x-request-id"] == told["instance"]
    assert told["detail"] == told["message"]
    assert told["detail"].strip().endswith((".", "?")), told["detail"]
    assert told["status"] == answer.status_code
    assert "Traceback" not in answer.text
    assert str(Path.home()) not in answer.text
    assert "validationErrors" not in told


def test_not_json_is_told_with_its_place(service: Service) -> None:
    answer = post(
        service, "/perspectives/caption", content=b'{"image": ,}', headers={"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")
    assert "line 1 column" in answer.json()["detail"]


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b'"x"', b"\xff\xfe", b"{" * 100_000])
def test_what_is_no_object_is_invalid_json(service: Service, content: bytes) -> None:
    answer = post(service, "/perspectives/caption", content=content)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")


def test_a_body_over_the_limit_is_refused_while_it_arrives(service: Service) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 100_000

    announced = post(service, "/perspectives/caption", content=b" " * 10_000_000)
    assert (announced.status_code, announced.json()["code"]) == (413, "body_too_large")
    check_shape(announced)
    streamed = post(service, "/perspectives/caption", content=chunks())
    assert (streamed.status_code, streamed.json()["code"]) == (413, "body_too_large")


def test_every_missing_variable_is_named(service: Service) -> None:
    perspective = {
        **INLINE,
        "prompt": "{one} {two}",
        "variables": [{"name": n, "required": True} for n in ("one", "two")],
    }
    told = post(service, "/perspectives/caption", json=body(perspective=perspective)).json()
    assert "one" in told["detail"]
    assert "two" in told["detail"]


def test_an_invalid_inline_perspective_is_told_with_pointers(service: Service) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "("}, "b": {"$ref": "http://x/"}}}
    told = post(service, "/perspectives/caption", json=body(perspective={**INLINE, "json_schema": schema})).json()
    assert told["code"] == "invalid_perspective"
    assert all(one["pointer"].startswith("/json_schema/properties/") for one in told["errors"])
    assert len(told["errors"]) == 2


def test_multipart_mistakes_are_named(service: Service) -> None:
    path = "/perspectives/alt_text/caption"
    photo = PHOTO.read_bytes()
    twice = post(service, path, files=[("image", ("a.jpg", photo)), ("image", ("b.jpg", photo))])
    assert (twice.status_code, twice.json()["code"]) == (422, "invalid_request")
    unknown = post(service, path, files={"image": ("a.jpg", photo), "colour": (None, "red")})
    assert "colour" in unknown.json()["detail"]
    text = post(service, path, files={"image": (None, "not a file")})
    assert "as a file" in text.json()["detail"]
    broken = post(service, path, content=b"--x\r\n", headers={"content-type": "multipart/form-data"})
    assert (broken.status_code, broken.json()["code"]) == (422, "invalid_request")


def test_unknown_addresses_and_methods(service: Service) -> None:
    answer = httpx.get(service.url + "/nothing/here", headers=ORIGIN, trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    check_shape(answer)
    answer = httpx.put(service.url + "/perspectives/caption", headers=ORIGIN, trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    answer = httpx.get(service.url + "/perspectives/modules/none", headers=ORIGIN, trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_module")


def test_problem_json_where_it_is_asked_for(service: Service) -> None:
    answer = post(
        service, "/perspectives/caption", json=body(perspective="x"), headers={"Accept": "application/problem+json"}
    )
    assert answer.headers["content-type"] == "application/problem+json"
    assert json.loads(answer.content)["type"] == "urn:graphcap:problem:unknown_perspective"


def test_a_key_in_a_rejected_body_is_not_repeated(service: Service) -> None:
    config = {"kind": 7, "api_key": "sk-secret-in-a-bad-body", "base_url": 5}
    answer = post(service, "/perspectives/caption", json=body(provider_config=config))
    assert answer.status_code == 422
    assert "sk-secret" not in answer.text + service.log
