"""Captions through the running service: every door for an image, every shape of answer."""

import base64
import io
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

from tests.contract.kinds import OF_KIND
from tests.servers import behaviours as b
from tests.service import WORKSPACE, Service

PHOTO = WORKSPACE / "datasets/samples/coffee.jpg"
KEY = "sk-callers-own-key-123456"
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


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service() as running:
        yield running


def post(service: Service, path: str, **request: Any) -> httpx.Response:
    answer = httpx.post(service.url + path, timeout=30, trust_env=False, **request)
    assert answer.status_code == 200, answer.text
    return answer


def asked(kind: str, url: str, **fields: Any) -> dict[str, Any]:
    config = {"kind": kind, "base_url": url, "api_key": KEY}
    return {"perspective": "alt_text", "provider_config": config, "model": "tiny-vision", **fields}


def test_a_whole_answer(service: Service) -> None:
    answer = post(
        service,
        "/api/v1/perspectives/caption",
        json={"perspective": "alt_text", "image": {"path": "datasets/samples/coffee.jpg"}},
        headers={"X-Request-ID": "mine-1"},
    )
    made = answer.json()
    assert (made["perspective"], made["provider"], made["model"]) == ("alt_text", "builtin", "measurements")
    assert made["rendered"]
    assert made["usage"] is None
    assert made["image"]["actions"] == []
    assert (made["image"]["width"], made["image"]["height"], made["image"]["bytes"]) == (600, 400, PHOTO.stat().st_size)
    assert [one["outcome"] for one in made["attempts"]] == ["ok"]
    assert made["output_mode"] == "json_schema"
    assert any("pixels, not content" in one for one in made["warnings"])
    assert made["request_id"] == answer.headers["x-request-id"] == "mine-1"
    assert set(made["timing"]) >= {"image", "model", "total"}
    assert "total;dur=" in answer.headers["server-timing"]


def doors() -> dict[str, dict[str, Any]]:
    photo = PHOTO.read_bytes()
    encoded = base64.b64encode(photo).decode()
    return {
        "path": {"json": {"image": {"path": "datasets/samples/coffee.jpg"}}},
        "path below /workspace": {"json": {"image": {"path": "/workspace/datasets/samples/coffee.jpg"}}},
        "base64": {"json": {"image": {"base64": encoded}}},
        "base64 in lines": {
            "json": {"image": {"base64": "\n".join(encoded[i : i + 76] for i in range(0, len(encoded), 76))}}
        },
        "base64 for URLs, unpadded": {
            "json": {"image": {"base64": base64.urlsafe_b64encode(photo).decode().rstrip("=")}}
        },
        "data URI": {"json": {"image": {"base64": f"data:image/png;name=x;base64,{encoded}"}}},
        "upload": {"files": {"image": ("photo.png", photo, "text/plain")}},
        "upload and request": {"files": {"image": ("a", photo), "request": (None, '{"seed": 3}', "application/json")}},
        "upload and scalars": {
            "files": {"image": ("a", photo)},
            "data": {"seed": "3", "temperature": "0.5", "context": ["x", "y"]},
        },
    }


@pytest.mark.parametrize("door", doors())
def test_every_door_leads_to_the_same_picture(service: Service, door: str) -> None:
    made = post(service, "/perspectives/alt_text/caption", **doors()[door]).json()
    assert (made["image"]["width"], made["image"]["media_type"]) == (600, "image/jpeg")
    assert made["image"]["bytes"] == PHOTO.stat().st_size


def test_text_alone_in_one_line(service: Service) -> None:
    path = "/perspectives/storytelling/caption"
    answer = post(service, path, files={"image": ("a.jpg", PHOTO.read_bytes())}, headers={"Accept": "text/plain"})
    assert answer.headers["content-type"].startswith("text/plain")
    assert len(answer.text.splitlines()) == 1
    assert not answer.text.startswith("{")


def test_another_seed_another_caption(service: Service) -> None:
    texts = set()
    for seed in (1, 2, 3):
        body = {"image": {"path": "datasets/samples/coffee.jpg"}, "seed": seed}
        texts.add(post(service, "/perspectives/graph_caption/caption", json=body).json()["raw_text"])
    assert len(texts) > 1


def test_a_perspective_that_comes_whole(service: Service) -> None:
    with OF_KIND["vllm"].server(key=KEY) as server:
        server.reply(b.Answer({"look": "warm {subject}"}))
        fields = {
            "perspective": INLINE,
            "image": {"path": "datasets/samples/coffee.jpg"},
            "variables": {"subject": "{the cup}"},
        }
        made = post(service, "/perspectives/caption", json=asked("vllm", server.url, **fields)).json()
        assert made["result"] == {"look": "warm {subject}"}
        assert made["rendered"] == "It looks warm {subject}"
        assert 'what {the cup} looks like, as JSON like {"look": "…"}' in server.call.prompt


def test_what_is_shown_is_taken_back(service: Service) -> None:
    shown = httpx.get(service.url + "/perspectives/scene_graph", trust_env=False).json()
    body = {"perspective": shown, "image": {"path": "datasets/samples/coffee.jpg"}}
    assert post(service, "/perspectives/caption", json=body).json()["perspective"] == "scene_graph"


def test_the_order_on_the_wire_and_the_context(service: Service) -> None:
    with OF_KIND["openai"].server(key=KEY) as server:
        fields = {
            "image": {"path": "datasets/samples/coffee.jpg"},
            "model": server.models[0],
            "context": ["First.", "Second."],
            "global_context": "Be brief.",
        }
        post(service, "/perspectives/caption", json=asked("openai", server.url, **fields))
        assert server.call.system == "Be brief."
        assert server.call.parts == ["image", "text"]
        assert server.call.prompt.startswith("<context>\nFirst.\n</context>\n\n<context>\nSecond.\n</context>\n\n")
        assert server.call.image is not None
        assert server.call.image.data == PHOTO.read_bytes()


def webp() -> str:
    sink = io.BytesIO()
    with Image.open(PHOTO) as photo:
        photo.save(sink, "WEBP")
    return base64.b64encode(sink.getvalue()).decode()


def test_a_picture_is_prepared_for_the_target_that_gets_it(service: Service) -> None:
    with OF_KIND["openai"].server(key=KEY) as first, OF_KIND["llamacpp"].server(key=KEY) as second:
        first.reply(b.Status(401))
        stand_in = {
            "provider_config": {"kind": "llamacpp", "base_url": second.url, "api_key": KEY},
            "model": second.models[0],
        }
        fields = {"image": {"base64": webp()}, "model": first.models[0], "fallbacks": [stand_in]}
        made = post(service, "/perspectives/caption", json=asked("openai", first.url, **fields)).json()
        assert [call.image.format for call in (first.call, second.call) if call.image] == ["WEBP", "JPEG"]
        assert [one["outcome"] for one in made["attempts"]] == ["auth_failed", "ok"]
        assert made["image"]["media_type"] == "image/jpeg"
        assert made["provider"] == "llamacpp"


def test_a_stand_in_for_refusals_is_asked_for_nothing_else(service: Service) -> None:
    with OF_KIND["openai"].server(key=KEY) as first, OF_KIND["vllm"].server(key=KEY) as second:
        stand_in = {
            "provider_config": {"kind": "vllm", "base_url": second.url, "api_key": KEY},
            "model": second.models[0],
            "on": "refusal",
        }
        fields = {"image": {"path": "datasets/samples/coffee.jpg"}, "model": first.models[0], "fallbacks": [stand_in]}
        body = asked("openai", first.url, **fields)
        first.reply(b.Status(401))
        failed = httpx.post(service.url + "/perspectives/caption", json=body, timeout=30, trust_env=False)
        assert failed.json()["code"] == "provider_auth"
        assert second.calls == []
        first.reply(b.Refusal("No."))
        assert post(service, "/perspectives/caption", json=body).json()["provider"] == "vllm"


def test_options_that_cannot_be_sent_are_warned_about(service: Service) -> None:
    with OF_KIND["openai"].server(key=KEY) as server:
        fields = {
            "image": {"path": "datasets/samples/coffee.jpg"},
            "model": server.models[0],
            "repetition_penalty": 1.2,
        }
        made = post(service, "/perspectives/caption", json=asked("openai", server.url, **fields)).json()
        assert any("repetition_penalty" in one for one in made["warnings"])
        assert "presence_penalty" not in server.call.body


def test_the_key_may_come_in_a_header(service: Service) -> None:
    with OF_KIND["openai"].server(key=KEY) as server:
        config = {"kind": "openai", "base_url": server.url}
        body = {"image": {"path": "datasets/samples/coffee.jpg"}, "provider_config": config, "model": server.models[0]}
        post(service, "/perspectives/alt_text/caption", json=body, headers={"X-Provider-Key": KEY})
    assert KEY not in service.log


def test_behind_a_proxy_with_a_prefix() -> None:
    with Service("--root-path", "/bridge") as service:
        for path in ("/health", "/bridge/health", "/bridge/api/v1/health", "//api/v1/health"):
            assert httpx.get(service.url + path, trust_env=False).status_code == 200
        document = httpx.get(service.url + "/openapi.json", trust_env=False).json()
        assert document["servers"] == [{"url": "/bridge"}]


def test_the_service_ends_gracefully_with_code_0() -> None:
    with Service() as service:
        assert service.stop() == 0


@pytest.mark.parametrize("path", ["/perspectives/caption", "/perspectives/analyze", "/perspectives/caption-from-path"])
def test_a_client_that_leaves_stops_the_providers_call(service: Service, path: str) -> None:
    with OF_KIND["vllm"].server(key=KEY) as server:
        server.default = b.Hold()
        fields = asked("vllm", server.url, model=server.models[0])
        if path.endswith("from-path"):
            fields["image_path"] = "/workspace/datasets/samples/coffee.jpg"
        else:
            fields["image"] = {"path": "datasets/samples/coffee.jpg"}
        if path.endswith("analyze"):
            fields["perspectives"] = [fields.pop("perspective")]
        with leaving(service, path, fields):
            server.wait_for_calls(1)
        assert server.closed.wait(10), "the provider's call went on"


@contextmanager
def leaving(service: Service | str, path: str, fields: dict[str, Any]) -> Iterator[None]:
    """Post to a service, or to whoever has this address, and hang up at the end without having read an answer."""
    address = urlsplit(service if isinstance(service, str) else service.url)
    body = json.dumps(fields).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((str(address.hostname), int(address.port or 0))) as connection:
        connection.sendall(head.encode() + body)
        yield
