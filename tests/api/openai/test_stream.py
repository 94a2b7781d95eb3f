"""Completions in chunks: one complete answer, or an error."""

import json
from typing import Any

import pytest

from tests.api.openai.ask import COMPACT, request, send
from tests.clients.bridge import MODEL, Bridge
from tests.servers import behaviours as b


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
    ids=["length", "cut", "never fits"],
)
def test_a_failed_stream_ends_with_an_error(bridge: Bridge, behaviour: b.Behaviour, code: str) -> None:
    bridge.server.default = behaviour
    response = send(bridge, request(stream=True))
    role, failed = events(response.text)
    assert (response.status_code, role["choices"][0]["delta"]["content"]) == (200, "")
    assert failed["error"]["code"] == code
