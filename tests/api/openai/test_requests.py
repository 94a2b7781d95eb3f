"""Chat requests: models, messages, schemas, and what is rejected."""

from typing import Any

import httpx
import pytest

from tests.api.openai.ask import CHAT, FORMAT, IMAGE, ask, refusal, request, send
from tests.clients.bridge import MODEL, PHOTO, Bridge, message
from tests.servers import behaviours as b

# Models: perspectives with a provider and a model.


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


# Messages of a conversation, and the one image.


def test_only_the_last_turn_is_used(bridge: Bridge) -> None:
    other = "data:image/png;base64,AAAA"
    messages = [
        message("The harbour.", image=other),
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


ASSISTANT = {"role": "assistant", "content": "A cup."}
NOT_ONE_IMAGE: dict[str, tuple[list[dict[str, Any]], str]] = {
    "none": ([message("What is it?", image=None)], "there is none"),
    "two in a turn": ([message("This?"), message("Or this?")], "there are 2"),
    "not in the last message": ([message(), message("What is it?", image=None)], "elsewhere"),
    "the system's": ([{"role": "system", "content": [IMAGE]}, message("?", image=None)], "elsewhere"),
    "nobody asked": ([message(), ASSISTANT], "there is none"),
}


@pytest.mark.parametrize("name", NOT_ONE_IMAGE)
def test_exactly_one_image(bridge: Bridge, name: str) -> None:
    messages, hint = NOT_ONE_IMAGE[name]
    response = send(bridge, request(messages=messages))
    payload = refusal(response)
    assert (response.status_code, payload["code"], payload["param"]) == (422, "invalid_request", "messages")
    assert hint in payload["message"]
    assert bridge.server.calls == []


# A schema in response_format: the text of the user becomes the prompt.


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


REFUSED_SCHEMAS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "with a perspective": (request(response_format=FORMAT), "invalid_request", "response_format", "'look'"),
    "with neither": (request(model="@studio"), "invalid_request", "model", "perspective"),
    "without a schema": (
        request(model="@studio", response_format={"type": "json_schema"}),
        "invalid_request",
        "response_format",
        "json_schema",
    ),
    "a schema that is none": (
        request(
            model="@studio",
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "string"}}},
        ),
        "invalid_perspective",
        "response_format",
        "object",
    ),
}


@pytest.mark.parametrize("name", REFUSED_SCHEMAS)
def test_misplaced_schemas(bridge: Bridge, name: str) -> None:
    body, code, param, hint = REFUSED_SCHEMAS[name]
    response = send(bridge, body)
    data = refusal(response)
    assert (response.status_code, data["code"], data["param"]) == (422, code, param), data
    assert hint in data["message"]
    assert bridge.server.calls == []


# Rejected chat requests, in the error format of OpenAI.


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
