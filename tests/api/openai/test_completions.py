"""Chat completions, complete and streamed."""

import json
from typing import Any

import pytest

from tests.api.openai.conftest import COMPACT, ask, error_of, request, send
from tests.clients.bridge import ANSWER, MODEL, PHOTO, STUDIO_KEY, Bridge, message
from tests.servers import behaviours as b


def test_a_completion_has_the_json_of_the_caption(bridge: Bridge) -> None:
    response = send(bridge, request(), **{"X-Request-ID": "mine-1"})
    payload = response.json()
    assert (payload["id"], payload["object"], payload["model"]) == ("chatcmpl-mine-1", "chat.completion", MODEL)
    assert isinstance(payload["created"], int)
    (choice,) = payload["choices"]
    assert (choice["index"], choice["finish_reason"]) == (0, "stop")
    assert choice["message"] == {"role": "assistant", "content": COMPACT, "refusal": None}
    counts = {"prompt_tokens": 120, "completion_tokens": 30, "total_tokens": 150}
    assert payload["usage"] == {**counts, "prompt_tokens_details": {"cached_tokens": 64}}


def test_the_request_to_the_provider(bridge: Bridge) -> None:
    system = [{"role": "system", "content": "Be brief."}, {"role": "developer", "content": [text("In English.")]}]
    sampling = {"temperature": 0.5, "top_p": 0.9, "seed": 7, "max_tokens": 300, "max_completion_tokens": 300}
    ask(bridge, messages=[*system, message("At the fair.", "In May.")], **sampling)
    call = bridge.server.call
    assert call.system == "Be brief.\n\nIn English."
    assert call.parts == ["image", "text"]
    assert call.prompt.startswith("<context>\nAt the fair.\n</context>\n\n<context>\nIn May.\n</context>\n\n")
    assert "Say what it looks like." in call.prompt
    assert call.image is not None
    assert call.image.data == PHOTO.read_bytes()
    assert call.options == {"temperature": 0.5, "top_p": 0.9, "seed": 7, "max_tokens": 300}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def test_only_the_provider_key_is_sent_to_the_provider(bridge: Bridge) -> None:
    assert send(bridge, request(), Authorization="Bearer our-own-key").status_code == 200
    assert bridge.server.call.headers["authorization"] == f"Bearer {STUDIO_KEY}"
    refused = send(bridge, request(), **{"X-Provider-Key": "sk-wrong", "Authorization": f"Bearer {STUDIO_KEY}"})
    assert error_of(refused)["code"] == "provider_auth"
    assert bridge.server.calls[-1].headers["authorization"] == "Bearer sk-wrong"


def test_usage_is_absent_when_unknown(bridge: Bridge) -> None:
    assert "usage" not in ask(bridge, model="look@builtin")
    bridge.server.reply(b.Answer(ANSWER, usage="absent"))
    assert "usage" not in ask(bridge)
    complete = {"choices": [{"message": {"content": COMPACT}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 5}}
    bridge.server.reply(b.Raw(json.dumps(complete).encode()))
    assert "usage" not in ask(bridge)


def test_harmless_parameters_are_accepted(bridge: Bridge) -> None:
    harmless = {"n": 1, "user": "u-1", "metadata": {"a": "b"}, "store": False, "stream": False, "tools": []}
    harmless |= {"tool_choice": "none", "presence_penalty": 0, "logit_bias": None, "logprobs": False, "stop": None}
    ask(bridge, **harmless)
    assert bridge.server.call.options == {}


def events(body: str) -> list[Any]:
    blocks = [block for block in body.split("\n\n") if block]
    assert all(block.startswith(("data: ", ": ping")) for block in blocks), body
    data = [block.removeprefix("data: ") for block in blocks if block.startswith("data: ")]
    return [item if item == "[DONE]" else json.loads(item) for item in data]


def test_chunks(bridge: Bridge) -> None:
    response = send(bridge, request(stream=True, stream_options={"include_usage": True}), **{"X-Request-ID": "mine-2"})
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    *chunks, usage, done = events(response.text)
    assert done == "[DONE]"
    assert {(item["id"], item["object"], item["model"]) for item in [*chunks, usage]} == {
        ("chatcmpl-mine-2", "chat.completion.chunk", MODEL)
    }
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(item["choices"][0]["delta"].get("content", "") for item in chunks) == COMPACT
    assert [item["choices"][0]["finish_reason"] for item in chunks][-2:] == [None, "stop"]
    assert [item["usage"] for item in chunks] == [None] * len(chunks)
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 150)


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [(b.Length(), "answer_truncated"), (b.Cut(), "provider_error"), (b.WrongSchema(), "answer_invalid")],
    ids=["length", "cut", "always invalid"],
)
def test_a_failed_stream_ends_with_an_error(bridge: Bridge, behaviour: b.Behaviour, code: str) -> None:
    bridge.server.default = behaviour
    response = send(bridge, request(stream=True))
    role, failed = events(response.text)
    assert (response.status_code, role["choices"][0]["delta"]["content"]) == (200, "")
    assert failed["error"]["code"] == code
