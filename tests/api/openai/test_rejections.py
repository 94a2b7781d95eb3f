"""Rejected chat requests, in the error format of OpenAI."""

from typing import Any

import httpx
import pytest

from tests.api.openai.ask import CHAT, IMAGE, refusal, request, send
from tests.clients.bridge import PHOTO, Bridge, message


def part(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [IMAGE, fields]}]}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "n": ({"n": 2}, "n"),
    "tools": ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    "stop": ({"stop": ["\n"]}, "stop"),
    "reasoning_effort": ({"reasoning_effort": "high"}, "reasoning_effort"),
    "unknown": ({"temprature": 1}, "temprature"),
    "temperature": ({"temperature": 3}, "temperature"),
    "two limits": ({"max_tokens": 10, "max_completion_tokens": 20}, "max_completion_tokens"),
    "no messages": ({"messages": []}, "messages"),
    "a tool's message": ({"messages": [{"role": "tool", "content": "7"}, message()]}, "messages[0].role"),
    "sound": (part(type="input_audio", input_audio={}), "messages[0].content[1].type"),
    "a format nobody knows": ({"response_format": {"type": "xml"}}, "response_format.type"),
    "a provider without a model": ({"model": "look@vllm"}, "model"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unsupported_values_are_rejected_by_name(bridge: Bridge, name: str) -> None:
    changes, param = REFUSED[name]
    response = send(bridge, request(**changes))
    data = refusal(response)
    assert (response.status_code, data["code"], data["type"]) == (422, "invalid_request", "invalid_request_error")
    assert data["param"] == param
    assert param.split(".")[0].split("[")[0] in data["message"]
    assert bridge.server.calls == []


IMAGES = {
    "private address": ("http://10.0.0.1/a.jpg", 403, "address_refused"),
    "not http": ("file:///etc/passwd", 422, "image_unreachable"),
    "not base64": ("data:image/jpeg;base64,!!!", 422, "invalid_image"),
    "not an image": ("data:image/jpeg;base64,aGVsbG8gd29ybGQgaGVsbG8=", 415, "unsupported_image"),
    "too large": ("data:image/jpeg;base64," + "A" * 4_100_000, 413, "image_too_large"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_unusable_images(bridge: Bridge, name: str) -> None:
    image, status, code = IMAGES[name]
    response = send(bridge, request(messages=[message(image=image)]))
    data = refusal(response)
    assert (response.status_code, data["code"], data["param"]) == (status, code, "messages")


def test_every_error_has_the_format_of_openai(bridge: Bridge) -> None:
    url = bridge.url
    result = {
        "json": httpx.post(url + CHAT, content=b"{", trust_env=False),
        "empty": httpx.post(url + CHAT, trust_env=False),
        "large": httpx.post(url + CHAT, content=b" " * 9_000_000, trust_env=False),
        "upload": httpx.post(url + CHAT, files={"image": PHOTO.read_bytes()}, trust_env=False),
        "method": httpx.get(url + CHAT, trust_env=False),
        "path": httpx.post(url + "/responses", json={}, trust_env=False),
    }
    data = {name: (response.status_code, refusal(response)["code"]) for name, response in result.items()}
    assert data == {
        "json": (400, "invalid_json"),
        "empty": (400, "invalid_json"),
        "large": (413, "body_too_large"),
        "upload": (422, "invalid_request"),
        "method": (405, "method_not_allowed"),
        "path": (404, "not_found"),
    }
    elsewhere = httpx.post(bridge.service.url + "/api/v1" + CHAT, json={}, trust_env=False)
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (404, "not_found")
