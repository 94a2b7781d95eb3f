"""Completions in chunks: one whole answer, or an error."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from bridge.api.openai.chat_request import read_chat
from bridge.api.openai.completion import ChunkStreamResponse
from bridge.captioning.plan import plan_caption
from bridge.captioning.services import open_services
from bridge.captioning.stream import EventStream
from bridge.deadline import Deadline
from bridge.run import Run
from bridge.settings import Settings
from tests.api.openai.ask import CHAT, COMPACT, refusal, request, send
from tests.api.sockets import state
from tests.api.test_captions import leaving
from tests.clients.bridge import ANSWER, MODEL, Bridge
from tests.servers import behaviours as b


def events(body: str) -> list[Any]:
    blocks = [block for block in body.split("\n\n") if block]
    assert all(block.startswith(("data: ", ": ping")) for block in blocks), body
    told = [block.removeprefix("data: ") for block in blocks if block.startswith("data: ")]
    return [one if one == "[DONE]" else json.loads(one) for one in told]


def test_a_stream_of_chunks(bridge: Bridge) -> None:
    answer = send(bridge, request(stream=True, stream_options={"include_usage": True}), **{"X-Request-ID": "mine-2"})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    *chunks, usage, done = events(answer.text)
    assert done == "[DONE]"
    assert {(one["id"], one["object"], one["model"]) for one in [*chunks, usage]} == {
        ("chatcmpl-mine-2", "chat.completion.chunk", MODEL)
    }
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in chunks) == COMPACT
    assert [one["choices"][0]["finish_reason"] for one in chunks][-2:] == [None, "stop"]
    assert [one["usage"] for one in chunks] == [None] * len(chunks)
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 150)


def test_usage_only_where_it_is_asked_for_and_known(bridge: Bridge) -> None:
    assert not [one for one in events(send(bridge, request(stream=True)).text) if "usage" in one]
    unknown = send(bridge, request(model="look@builtin", stream=True, stream_options={"include_usage": True}))
    *chunks, done = events(unknown.text)
    assert done == "[DONE]"
    assert all(one["choices"] and one["usage"] is None for one in chunks)


def test_the_role_comes_before_the_model_has_answered(bridge: Bridge) -> None:
    bridge.server.reply(b.Hold(b.Answer(ANSWER)))
    with httpx.stream("POST", bridge.url + CHAT, json=request(stream=True), timeout=30, trust_env=False) as answer:
        lines = answer.iter_lines()
        assert '"role":"assistant"' in next(lines)
        bridge.server.release()
        assert list(lines)[-2:] == ["data: [DONE]", ""]


def test_a_second_answer_replaces_the_first(bridge: Bridge) -> None:
    bridge.server.reply(b.WrongSchema({"look": "cold", "sure": "perhaps"}), b.Answer(ANSWER))
    body = send(bridge, request(stream=True)).text
    assert len(bridge.server.calls) == 2
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in events(body)[:-1]) == COMPACT
    assert "cold" not in body


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [(b.Length(), "answer_truncated"), (b.Cut(), "provider_error"), (b.WrongSchema(), "answer_invalid")],
    ids=["length", "cut", "never fits"],
)
def test_a_stream_that_fails_never_looks_whole(bridge: Bridge, behaviour: b.Behaviour, code: str) -> None:
    bridge.server.default = behaviour
    answer = send(bridge, request(stream=True))
    role, failed = events(answer.text)
    assert (answer.status_code, role["choices"][0]["delta"]["content"]) == (200, "")
    assert failed["error"]["code"] == code


def test_what_can_be_refused_is_refused_before_a_stream(bridge: Bridge) -> None:
    answer = send(bridge, request(model="gpt-4o", stream=True))
    assert (answer.status_code, refusal(answer)["code"]) == (404, "model_not_found")
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_ends_the_providers_call(bridge: Bridge, stream: bool) -> None:
    bridge.server.default = b.Hang()
    with leaving(bridge.url, f"/v1{CHAT}", request(stream=stream)):
        bridge.server.wait_for_calls(1)
    bridge.server.wait_for_hang_ups(1)


async def test_a_silent_stream_is_kept_alive_with_comments(bridge: Bridge) -> None:
    bridge.server.reply(b.Hold(b.Answer(ANSWER)))
    settings = Settings(_env_file=None, workspace=bridge.workspace)  # type: ignore[call-arg]
    sent: list[bytes] = []

    async def keep(message: Any) -> None:
        sent.append(message.get("body", b""))
        if sent.count(b": ping\n\n") == 2:
            bridge.server.release()

    async def stays() -> Any:
        await asyncio.Event().wait()

    async with open_services(settings) as services:
        chat, run = read_chat(request(stream=True), services), Run(Deadline(60), "id")
        plan = plan_caption(chat.perspective, chat.options, services, run)
        stream = EventStream(plan, services, run, partials=False)
        response = ChunkStreamResponse(chat, stream, state()["record"], run.deadline, ping=0.01)
        await response({"type": "http", "state": state()}, stays, keep)
    assert sent.count(b": ping\n\n") >= 2
    assert events(b"".join(sent).decode())[-1] == "[DONE]"
