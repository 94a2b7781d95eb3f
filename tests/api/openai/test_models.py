"""Models are perspectives, and who answers by them."""

from typing import Any

import httpx
import pytest

from bridge.api.openai import models
from tests.api.openai.ask import FORMAT, ask, refusal, request, send
from tests.clients.bridge import MODEL, Bridge, message
from tests.servers import behaviours as b


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", ("", "", "")),
        ("alt_text", ("alt_text", "", "")),
        ("alt_text@", ("alt_text", "", "")),
        ("alt_text@studio", ("alt_text", "studio", "")),
        ("alt_text@/qwen2.5vl:7b", ("alt_text", "", "qwen2.5vl:7b")),
        ("@studio/Qwen/Qwen2.5-VL@main", ("", "studio", "Qwen/Qwen2.5-VL@main")),
    ],
)
def test_the_grammar_of_a_models_name(text: str, name: tuple[str, str, str]) -> None:
    assert models.parse_name(text) == name


def test_models_are_listed_without_asking_anyone(bridge: Bridge) -> None:
    bridge.server.reply_to_listing(*[b.Hang("connect")] * 4)
    told = httpx.get(f"{bridge.url}/models", trust_env=False).json()
    assert told["object"] == "list"
    names = [one["id"] for one in told["data"]]
    assert {"look", "look@builtin/measurements", MODEL, "alt_text", "alt_text@studio/tiny-vision"} <= set(names)
    assert not [
        name
        for name in names
        if "@" in name and name.split("@")[1] not in ("builtin/measurements", "studio/tiny-vision")
    ]
    assert len(set(names)) == len(names)
    assert {one["owned_by"] for one in told["data"]} == {"graphcap"}


def test_whatever_is_listed_can_be_asked(bridge: Bridge) -> None:
    told = httpx.get(f"{bridge.url}/models", trust_env=False).json()["data"]
    bridge.server.default = b.Answer()
    for name in [one["id"] for one in told if one["id"].startswith(("look", "alt_text"))]:
        assert ask(bridge, model=name)["model"] == name


@pytest.mark.parametrize("name", ["look", MODEL, "look@studio/some/other:7b", "@studio/x"])
def test_a_model_is_shown(bridge: Bridge, name: str) -> None:
    answer = httpx.get(f"{bridge.url}/models/{name}", trust_env=False)
    assert (answer.status_code, answer.json()["id"]) == (200, name)


@pytest.mark.parametrize("name", ["gpt-4o", "lock@studio", "@", "look@nowhere"])
def test_a_model_that_cannot_be_asked_is_not_shown(bridge: Bridge, name: str) -> None:
    answer = httpx.get(f"{bridge.url}/models/{name}", trust_env=False)
    assert answer.status_code == 404
    assert refusal(answer)["param"] == "model"


@pytest.mark.parametrize("messages", [[message()], [{"role": "user", "content": "Hello!"}]])
@pytest.mark.parametrize("format", [None, FORMAT])
def test_no_perspective_is_guessed(bridge: Bridge, messages: list[Any], format: object) -> None:
    answer = send(bridge, request(model="gpt-4o", messages=messages, response_format=format))
    told = refusal(answer)
    assert (answer.status_code, told["code"], told["param"]) == (404, "model_not_found", "model")
    assert told["type"] == "invalid_request_error"
    assert "'gpt-4o'" in told["message"]
    assert "/v1/models" in told["message"]
    assert bridge.server.calls == []
