"""Captions from a running service: image sources, response fields and disconnects."""

import base64
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.api.streams import KEY, PHOTO, SAMPLE
from tests.contract.kinds import KIND_BY_NAME
from tests.images.samples import photo, saved
from tests.servers import behaviours as b
from tests.service import Service, until

INLINE = {
    "name": "mine",
    "prompt": 'Say what {subject} looks like, as JSON like {"look": "…"}.',
    "variables": [{"name": "subject", "required": True}],
    "json_schema": {
        "type": "object",
        "properties": {"look": {"type": "string", "description": "what it looks like"}},
        "required": ["look"],
    },
    "context_template": "It looks {look}",
}


def post(service: Service, path: str, **request: Any) -> httpx.Response:
    response = httpx.post(service.url + path, timeout=60, trust_env=False, **request)
    assert response.status_code == 200, response.text
    return response


def body_for(kind: str, url: str, **fields: Any) -> dict[str, Any]:
    config = {"kind": kind, "base_url": url, "api_key": KEY}
    return {"perspective": "alt_text", "provider_config": config, "model": "tiny-vision", **fields}


def test_response_fields(service: Service) -> None:
    response = post(
        service,
        "/api/v1/perspectives/caption",
        json={"perspective": "alt_text", "image": {"path": SAMPLE}},
        headers={"X-Request-ID": "mine-1"},
    )
    caption = response.json()
    assert (caption["perspective"], caption["provider"], caption["model"]) == ("alt_text", "builtin", "measurements")
    assert caption["rendered"]
    assert caption["usage"] is None
    assert caption["image"]["actions"] == []
    assert [caption["image"][name] for name in ("width", "height", "bytes")] == [600, 400, PHOTO.stat().st_size]
    assert [attempt["outcome"] for attempt in caption["attempts"]] == ["ok"]
    assert caption["output_mode"] == "json_schema"
    assert any("pixels, not content" in warning for warning in caption["warnings"])
    assert caption["request_id"] == response.headers["x-request-id"] == "mine-1"
    assert set(caption["timing"]) >= {"image", "model", "total"}
    assert "total;dur=" in response.headers["server-timing"]


def sources() -> dict[str, dict[str, Any]]:
    data = PHOTO.read_bytes()
    encoded = base64.b64encode(data).decode()
    return {
        "path": {"json": {"image": {"path": SAMPLE}}},
        "base64": {"json": {"image": {"base64": encoded}}},
        "data URI": {"json": {"image": {"base64": f"data:image/png;name=x;base64,{encoded}"}}},
        "upload": {"files": {"image": ("photo.png", data, "text/plain")}},
        "upload and request": {"files": {"image": ("a", data), "request": (None, '{"seed": 3}', "application/json")}},
        "upload and scalars": {
            "files": {"image": ("a", data)},
            "data": {"seed": "3", "temperature": "0.5", "context": ["x", "y"]},
        },
    }


@pytest.mark.parametrize("source", sources())
def test_every_source_gives_the_same_image(service: Service, source: str) -> None:
    caption = post(service, "/perspectives/alt_text/caption", **sources()[source]).json()
    assert (caption["image"]["width"], caption["image"]["media_type"]) == (600, "image/jpeg")
    assert caption["image"]["bytes"] == PHOTO.stat().st_size


def test_an_inline_perspective(service: Service) -> None:
    with KIND_BY_NAME["vllm"].server(key=KEY) as server:
        server.reply(b.Answer({"look": "warm {subject}"}))
        fields = {"perspective": INLINE, "image": {"path": SAMPLE}, "variables": {"subject": "{the cup}"}}
        caption = post(service, "/perspectives/caption", json=body_for("vllm", server.url, **fields)).json()
        assert caption["result"] == {"look": "warm {subject}"}
        assert caption["rendered"] == "It looks warm {subject}"
        assert 'what {the cup} looks like, as JSON like {"look": "…"}' in server.call.prompt


def test_the_image_is_prepared_for_each_target(service: Service) -> None:
    with KIND_BY_NAME["openai"].server(key=KEY) as first, KIND_BY_NAME["llamacpp"].server(key=KEY) as second:
        first.reply(b.Status(401))
        config = {"kind": "llamacpp", "base_url": second.url, "api_key": KEY}
        fallback = {"provider_config": config, "model": second.models[0]}
        webp = base64.b64encode(saved(photo(), "WEBP")).decode()
        fields = {"image": {"base64": webp}, "model": first.models[0], "fallbacks": [fallback]}
        caption = post(service, "/perspectives/caption", json=body_for("openai", first.url, **fields)).json()
        assert [call.image.format for call in (first.call, second.call) if call.image] == ["WEBP", "JPEG"]
        assert [attempt["outcome"] for attempt in caption["attempts"]] == ["auth_failed", "ok"]
        assert caption["image"]["media_type"] == "image/jpeg"
        assert caption["provider"] == "llamacpp"


def test_the_provider_key_in_a_header(service: Service) -> None:
    with KIND_BY_NAME["openai"].server(key=KEY) as server:
        config = {"kind": "openai", "base_url": server.url}
        body = {"image": {"path": SAMPLE}, "provider_config": config, "model": server.models[0]}
        post(service, "/perspectives/alt_text/caption", json=body, headers={"X-Provider-Key": KEY})
    assert KEY not in service.log


@pytest.mark.parametrize("path", ["/perspectives/caption", "/perspectives/analyze", "/perspectives/caption-from-path"])
def test_a_disconnect_ends_the_provider_call(service: Service, path: str) -> None:
    with KIND_BY_NAME["vllm"].server(key=KEY) as server:
        server.default = b.Hold()
        fields = body_for("vllm", server.url, model=server.models[0], image={"path": SAMPLE})
        if path.endswith("from-path"):
            fields["image_path"] = f"/workspace/{SAMPLE}"
        if path.endswith("analyze"):
            fields["perspectives"] = [fields.pop("perspective")]
        with disconnecting(service, path, fields):
            server.wait_for_calls(1)
        assert server.closed.wait(60), "the provider's call went on"


@pytest.mark.parametrize("path", ["/providers/mine/test-connection", "/providers/mine/models"])
def test_a_disconnect_ends_a_request_about_a_provider(service: Service, path: str) -> None:
    with KIND_BY_NAME["vllm"].server(key=KEY) as server:
        server.reply_to_listing(b.Hold())
        with disconnecting(service, path, {"kind": "vllm", "base_url": server.url, "api_key": KEY}):
            until(lambda: server.requests)
        server.wait_for_hang_ups(1)
    service.wait_for_log(f'"path": "{path}", "status": 499')


@contextmanager
def disconnecting(service: Service | str, path: str, fields: dict[str, Any]) -> Iterator[None]:
    """POST to a service, or to a base URL, and disconnect at the end of the block without reading the response."""
    address = urlsplit(service if isinstance(service, str) else service.url)
    body = json.dumps(fields).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((str(address.hostname), int(address.port or 0))) as connection:
        connection.sendall(head.encode() + body)
        yield
