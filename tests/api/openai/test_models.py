"""Models: perspectives with a provider and a model."""

from typing import Any

import httpx
import pytest

from tests.api.openai.ask import FORMAT, refusal, request, send
from tests.clients.bridge import MODEL, Bridge, message
from tests.servers import behaviours as b


def test_models_are_listed_without_provider_calls(bridge: Bridge) -> None:
    bridge.server.reply_to_listing(*[b.Hang("connect")] * 4)
    data = httpx.get(f"{bridge.url}/models", trust_env=False).json()
    assert data["object"] == "list"
    names = [item["id"] for item in data["data"]]
    assert {"look", MODEL, "alt_text", "alt_text@studio/tiny-vision"} <= set(names)
    assert {name.partition("@")[2] for name in names} == {"", "studio/tiny-vision"}  # `keyless` has no key
    assert len(set(names)) == len(names)
    assert {item["owned_by"] for item in data["data"]} == {"graphcap"}


@pytest.mark.parametrize("name", ["gpt-4o", "lock@studio", "@", "look@nowhere"])
def test_unusable_models_are_not_found(bridge: Bridge, name: str) -> None:
    response = httpx.get(f"{bridge.url}/models/{name}", trust_env=False)
    assert response.status_code == 404
    assert refusal(response)["param"] == "model"


@pytest.mark.parametrize("messages", [[message()], [{"role": "user", "content": "Hello!"}]])
@pytest.mark.parametrize("format", [None, FORMAT])
def test_unknown_perspectives_are_rejected(bridge: Bridge, messages: list[Any], format: object) -> None:
    response = send(bridge, request(model="gpt-4o", messages=messages, response_format=format))
    data = refusal(response)
    assert (response.status_code, data["code"], data["param"]) == (404, "model_not_found", "model")
    assert data["type"] == "invalid_request_error"
    assert "'gpt-4o'" in data["message"]
    assert "/v1/models" in data["message"]
    assert bridge.server.calls == []
