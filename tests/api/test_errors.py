"""What bad input gets: one readable error each, with its code, as JSON, with CORS headers, and nothing leaked."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.streams import HANG_GUARD
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
    ("a text as image", body(image="datasets/x.jpg"), 422, "invalid_request", '{"path": …}'),
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


ELSEWHERE: dict[str, tuple[str, dict[str, Any], str]] = {
    "long path": (
        "/perspectives/caption-from-path",
        {"perspective": "alt_text", "image_path": "/workspace/" + "x" * 3000},
        "image_path",
    ),
    "model": ("/providers/builtin/test-connection", {"kind": "builtin", "model": {"a": 1}}, "model"),
    "model without kind": ("/providers/builtin/test-connection", {"model": ["a"]}, "model"),
    "default_model": ("/providers/builtin/models", {"default_model": {"a": 1}}, "default_model"),
    "kind": ("/providers/builtin/models", {"kind": 7}, "kind"),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_field_of_the_wrong_type_is_named_on_every_route(service: Service, name: str) -> None:
    path, request_body, field = ELSEWHERE[name]
    answer = post(service, path, json=request_body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), answer.text
    assert answer.json()["errors"][0]["pointer"] == f"/{field}"
    check_shape(answer)


ODD = ["\ud800", "\udfff.jpg", "a\0b", "\r\nX-Injected: 1", "é日本😀", "\x7f\x1b[0m", "%00/..%2f", "{", "x" * 2000]
FIELDS: dict[str, Any] = {
    "perspective": lambda odd: {"perspective": odd},
    "path": lambda odd: {"image": {"path": odd}},
    "url": lambda odd: {"image": {"url": odd}},
    "url's path": lambda odd: {"image": {"url": f"http://127.0.0.1:9/{odd}"}},
    "base64": lambda odd: {"image": {"base64": odd}},
    "provider": lambda odd: {"provider": odd},
    "model": lambda odd: {"model": odd},
    "context": lambda odd: {"context": [odd]},
    "global_context": lambda odd: {"global_context": odd},
    "a variable": lambda odd: {"variables": {odd: "x"}},
    "a value": lambda odd: {"perspective": {**INLINE, "prompt": "{a}"}, "variables": {"a": odd}},
    "a name": lambda odd: {"perspective": {**INLINE, "name": odd}},
    "a prompt": lambda odd: {"perspective": {**INLINE, "prompt": odd}},
    "a field's name": lambda odd: {
        "perspective": {**INLINE, "json_schema": {"type": "object", "properties": {odd: {"type": "string"}}}}
    },
    "a template": lambda odd: {"perspective": {**INLINE, "context_template": odd}},
    "an unknown field": lambda odd: {odd: 1},
    "kind": lambda odd: {"provider_config": {"kind": odd}},
    **{
        f"{part} of {kind}": lambda odd, part=part, kind=kind: {
            "model": "m",
            "timeout": 0.2,
            "provider_config": {"kind": kind, "base_url": "http://127.0.0.1:9", part: odd},
        }
        for kind in ("openai", "ollama", "gemini")
        for part in ("api_key", "base_url", "name", "default_model")
    },
    **{
        f"model of {kind}": lambda odd, kind=kind: {
            "model": odd,
            "timeout": 0.2,
            "provider_config": {"kind": kind, "base_url": "http://127.0.0.1:9", "api_key": "k"},
        }
        for kind in ("openai", "ollama", "gemini")
    },
}


@pytest.mark.parametrize("field", FIELDS)
def test_no_text_is_a_bug_of_ours(service: Service, field: str) -> None:
    with httpx.Client(timeout=30, trust_env=False) as client:
        for odd in ODD:
            sent = json.dumps(body(**FIELDS[field](odd)))
            answer = client.post(service.url + "/perspectives/caption", content=sent)
            assert answer.status_code != 500, (odd, answer.text)
            assert ("\ud800" in odd or "\udfff" in odd) == (answer.status_code == 400), (odd, answer.text)


@pytest.mark.parametrize("odd", ODD)
def test_nor_is_it_elsewhere(service: Service, odd: str) -> None:
    for path, request_body in (
        ("/perspectives/caption-from-path", {"perspective": "alt_text", "image_path": odd}),
        (
            "/perspectives/caption-from-path",
            {"perspective": "alt_text", "image_path": "x", "context": json.dumps([odd])},
        ),
        ("/perspectives/analyze", {**body(), "perspectives": [odd], "synthesize": odd}),
        ("/providers/x/test-connection", {"kind": "openai", "base_url": odd, "api_key": odd, "model": odd}),
        ("/providers/builtin/models", {"default_model": odd}),
        ("/v1/chat/completions", {"model": odd, "messages": [{"role": "user", "content": odd}]}),
    ):
        assert post(service, path, content=json.dumps(request_body)).status_code != 500


@pytest.mark.parametrize("odd", [b"\xed\xa0\x80", b"\xff", "é😀".encode(), b"a b\t;=", b"x" * 500])
def test_nor_is_it_in_a_header_or_the_path(service: Service, odd: bytes) -> None:
    for name in ("X-Request-ID", "X-Provider-Key", "Authorization", "X-API-Key", "Accept", "Content-Type"):
        answer = post(service, "/perspectives/caption", content=json.dumps(body()), headers={name: odd})
        assert answer.status_code == 200, name
    config = {"kind": "openai", "base_url": "http://127.0.0.1:9"}
    sent = json.dumps(body(model="m", provider_config=config, timeout=0.2))
    assert post(service, "/perspectives/caption", content=sent, headers={"X-Provider-Key": odd}).status_code != 500
    quoted = "".join(f"%{one:02x}" for one in odd)
    for path in (f"/perspectives/{quoted}", f"/perspectives/modules/{quoted}", f"/providers/{quoted}/models"):
        assert httpx.get(service.url + path, trust_env=False).status_code == 404


@pytest.mark.parametrize("charset", ["utf-7", "unicode_escape", "idna", "utf-16", "hex", "none-such", ""])
def test_multipart_is_utf8(service: Service, charset: str) -> None:
    text = b'--x\r\nContent-Disposition: form-data; name="perspective"\r\n\r\n\\ud800+2AA-\r\n--x--\r\n'
    answer = post(
        service,
        "/perspectives/caption",
        content=text,
        headers={"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"},
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "UTF-8" in answer.json()["detail"]


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
    elsewhere = post(service, path, files={"file": ("a.jpg", photo)})
    assert "Send the picture as the part 'image'" in elsewhere.json()["detail"]
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


@pytest.mark.parametrize("name", ["caption", "analyze", "caption-from-path"])
def test_an_action_is_no_perspective(service: Service, name: str) -> None:
    answer = httpx.get(f"{service.url}/perspectives/{name}", timeout=HANG_GUARD, trust_env=False)
    assert (answer.status_code, answer.json()["code"], answer.headers["allow"]) == (405, "method_not_allowed", "POST")


def test_nobodys_name_is_no_provider(service: Service) -> None:
    answer = httpx.post(f"{service.url}/providers//test-connection", timeout=HANG_GUARD, trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_provider")


@pytest.mark.parametrize("path", ["/health", "/livez", "/info", "/perspectives/list", "/docs", "/v1/models"])
def test_head_is_get_without_its_body(service: Service, path: str) -> None:
    asked = httpx.head(service.url + path, timeout=HANG_GUARD, trust_env=False)
    whole = httpx.get(service.url + path, timeout=HANG_GUARD, trust_env=False)
    assert (asked.status_code, asked.content, asked.headers["content-type"]) == (
        200,
        b"",
        whole.headers["content-type"],
    )
    assert asked.headers["x-request-id"]


def test_a_connection_to_a_refused_address_says_so(service: Service) -> None:
    config = {"kind": "openai-compatible", "base_url": "http://169.254.169.254/", "default_model": "m"}
    answer = httpx.post(
        f"{service.url}/providers/x/test-connection", json=config, timeout=HANG_GUARD, trust_env=False
    ).json()
    assert answer["status"] == "failed"
    assert "which this server does not call" in answer["message"]
