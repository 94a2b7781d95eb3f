"""Chat requests: models, messages, schemas and rejected requests."""

from typing import Any

import pytest

from tests.api.openai.conftest import CHAT, FORMAT, IMAGE, ask, error_of, request, send
from tests.clients.bridge import MODEL, PHOTO, Bridge, message
from tests.servers import behaviours as b


def test_models_are_listed_without_provider_calls(bridge: Bridge) -> None:
    bridge.server.reply_to_listing(*[b.Hang("connect")] * 4)
    data = bridge.service.get("/v1/models").json()
    assert data["object"] == "list"
    names = [item["id"] for item in data["data"]]
    assert {"look", MODEL, "alt_text", "alt_text@studio/tiny-vision"} <= set(names)
    assert {name.partition("@")[2] for name in names} == {"", "studio/tiny-vision"}  # `keyless` has no key
    assert len(set(names)) == len(names)
    assert {item["owned_by"] for item in data["data"]} == {"graphcap"}


@pytest.mark.parametrize("name", ["gpt-4o", "lock@studio", "@", "look@nowhere"])
def test_unusable_models_are_not_found(bridge: Bridge, name: str) -> None:
    response = bridge.service.get(f"/v1/models/{name}")
    assert response.status_code == 404
    assert error_of(response)["param"] == "model"


def test_only_the_last_turn_is_used(bridge: Bridge) -> None:
    first_image = "data:image/png;base64,AAAA"
    messages = [
        message("The harbour.", image=first_image),
        {"role": "assistant", "content": "A harbour.", "tool_calls": None},
        {"role": "user", "content": "And this:"},
        message("At the fair."),
    ]
    ask(bridge, messages=messages)
    call = bridge.server.call
    assert call.image is not None
    assert call.image.data == PHOTO.read_bytes()
    assert call.prompt.startswith("<context>\nAnd this:\n</context>\n\n<context>\nAt the fair.\n</context>\n\n")
    assert "harbour" not in "".join(call.texts)


def test_text_and_schema_are_a_perspective(bridge: Bridge) -> None:
    bridge.server.default = b.Answer({"mood": "calm"})
    text = 'Tell the {mood}, as in {"mood": "…"}.'
    data = ask(bridge, model="@studio", messages=[message(text, "In one word.")], response_format=FORMAT)
    assert data["choices"][0]["message"]["content"] == '{"mood":"calm"}'
    call = bridge.server.call
    assert call.prompt.startswith(f"{text}\n\nIn one word.")
    assert "<context>" not in call.prompt
    assert call.schema["properties"].keys() == {"mood"}
    assert call.body["response_format"]["json_schema"]["name"] == "caption"


def parts(*content: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [*content]}]}


def image_message(url: str) -> dict[str, Any]:
    return {"messages": [message(image=url)]}


def schema(**fields: Any) -> dict[str, Any]:
    return {"model": "@studio", "response_format": {"type": "json_schema", **fields}}


ASSISTANT = {"role": "assistant", "content": "A cup."}
STATUS = {"model_not_found": 404, "address_refused": 403, "unsupported_image": 415, "image_too_large": 413}
REJECTED: list[tuple[dict[str, Any], str, str, str]] = [
    ({"model": "gpt-4o"}, "model_not_found", "model", "'gpt-4o'"),
    ({"model": "gpt-4o", "messages": [message(image=None)]}, "model_not_found", "model", "/v1/models"),
    ({"model": "gpt-4o", "response_format": FORMAT}, "model_not_found", "model", "'gpt-4o'"),
    ({"messages": [message("What is it?", image=None)]}, "invalid_request", "messages", "there is none"),
    ({"messages": [message("This?"), message("Or this?")]}, "invalid_request", "messages", "there are 2"),
    ({"messages": [message(), message("What?", image=None)]}, "invalid_request", "messages", "elsewhere"),
    (
        {"messages": [{"role": "system", "content": [IMAGE]}, message("?", image=None)]},
        *("invalid_request", "messages", "elsewhere"),
    ),
    ({"messages": [message(), ASSISTANT]}, "invalid_request", "messages", "there is none"),
    ({"response_format": FORMAT}, "invalid_request", "response_format", "'look'"),
    ({"model": "@studio"}, "invalid_request", "model", "perspective"),
    (schema(), "invalid_request", "response_format", "json_schema"),
    (
        schema(json_schema={"name": "x", "schema": {"type": "string"}}),
        *("invalid_perspective", "response_format", "object"),
    ),
    ({"n": 2}, "invalid_request", "n", "n"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "invalid_request", "tools", "tools"),
    ({"stop": ["\n"]}, "invalid_request", "stop", "stop"),
    ({"reasoning_effort": "high"}, "invalid_request", "reasoning_effort", "reasoning_effort"),
    ({"temprature": 1}, "invalid_request", "temprature", "temprature"),
    ({"temperature": 3}, "invalid_request", "temperature", "temperature"),
    ({"max_tokens": 10, "max_completion_tokens": 20}, "invalid_request", "max_completion_tokens", "max_tokens"),
    ({"messages": []}, "invalid_request", "messages", "messages"),
    ({"messages": [{"role": "tool", "content": "7"}, message()]}, "invalid_request", "messages[0].role", "role"),
    (parts(IMAGE, {"type": "input_audio"}), "invalid_request", "messages[0].content[1].type", "content"),
    ({"response_format": {"type": "xml"}}, "invalid_request", "response_format.type", "response_format"),
    ({"model": "look@vllm"}, "invalid_request", "model", "model"),
    (image_message("http://10.0.0.1/a.jpg"), "address_refused", "messages", "10.0.0.1"),
    (image_message("file:///etc/passwd"), "image_unreachable", "messages", "http"),
    (image_message("data:image/jpeg;base64,!!!"), "invalid_image", "messages", "base64"),
    (image_message("data:image/jpeg;base64,aGVsbG8gd29ybGQgaGVsbG8="), "unsupported_image", "messages", "text"),
    (image_message("data:image/jpeg;base64," + "A" * 4_100_000), "image_too_large", "messages", "MiB"),
]


@pytest.mark.parametrize(("changes", "code", "param", "hint"), REJECTED, ids=lambda value: str(value)[:40])
def test_rejected_requests(bridge: Bridge, changes: dict[str, Any], code: str, param: str, hint: str) -> None:
    response = send(bridge, request(**changes))
    data = error_of(response)
    assert (response.status_code, data["code"], data["param"]) == (STATUS.get(code, 422), code, param), data
    assert data["type"] in ("invalid_request_error", "permission_error")
    assert hint in data["message"]
    assert bridge.server.calls == []


def test_every_error_has_the_format_of_openai(bridge: Bridge) -> None:
    service, path = bridge.service, f"/v1{CHAT}"
    result = {
        "json": service.request("POST", path, content=b"{"),
        "empty": service.request("POST", path),
        "large": service.request("POST", path, content=b" " * 9_000_000),
        "upload": service.request("POST", path, files={"image": PHOTO.read_bytes()}),
        "method": service.request("GET", path),
        "path": service.request("POST", "/v1/responses", json={}),
    }
    data = {name: (response.status_code, error_of(response)["code"]) for name, response in result.items()}
    assert data == {
        "json": (400, "invalid_json"),
        "empty": (400, "invalid_json"),
        "large": (413, "body_too_large"),
        "upload": (422, "invalid_request"),
        "method": (405, "method_not_allowed"),
        "path": (404, "not_found"),
    }
    elsewhere = service.request("POST", f"/api/v1{CHAT}", json={})
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (404, "not_found")
