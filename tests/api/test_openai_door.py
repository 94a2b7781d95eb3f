"""Captions for clients that speak OpenAI: what is read of their requests, and what they are told."""

import asyncio
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest

from bridge.api.openai import chat, models
from bridge.api.openai.answer import ChunkStream
from bridge.captioning.resources import open_resources
from bridge.settings import Settings
from tests.clients.bridge import ANSWER, DATA_URI, MODEL, PHOTO, STUDIO_KEY, Bridge, message
from tests.clients.bridge import bridge as running
from tests.servers import behaviours as b

COMPACT = json.dumps(ANSWER, ensure_ascii=False, separators=(",", ":"))
SCHEMA = {"type": "object", "properties": {"mood": {"type": "string"}}, "required": ["mood"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "caption", "strict": True, "schema": SCHEMA}}
CHAT = "/chat/completions"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    with running(
        tmp_path_factory.mktemp("workspace"),
        GRAPHCAP_MAX_IMAGE_BYTES="3000000",
        GRAPHCAP_IMAGE_URL_ALLOW="127.0.0.1",
        GRAPHCAP_LOG_LEVEL="debug",
    ) as found:
        yield found


@pytest.fixture
def bridge(started: Bridge) -> Bridge:
    started.forget()
    return started


def request(**changes: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [message("Taken at the fair.")], **changes}


def send(bridge: Bridge, body: dict[str, Any], **headers: str) -> httpx.Response:
    return httpx.post(bridge.url + CHAT, json=body, headers=headers, timeout=30, trust_env=False)


def ask(bridge: Bridge, **changes: Any) -> dict[str, Any]:
    answer = send(bridge, request(**changes))
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def refusal(answer: httpx.Response) -> dict[str, Any]:
    """The error, once its shape was looked at."""
    told = answer.json()
    assert set(told) == {"error"}
    assert set(told["error"]) == {"message", "type", "param", "code"}
    assert told["error"]["message"].endswith((".", "?"))
    return told["error"]  # type: ignore[no-any-return]


# A whole answer.


def test_a_completion_is_the_captions_json(bridge: Bridge) -> None:
    answer = send(bridge, request(), **{"X-Request-ID": "mine-1"})
    told = answer.json()
    assert (told["id"], told["object"], told["model"]) == ("chatcmpl-mine-1", "chat.completion", MODEL)
    assert isinstance(told["created"], int)
    (choice,) = told["choices"]
    assert (choice["index"], choice["finish_reason"]) == (0, "stop")
    assert choice["message"] == {"role": "assistant", "content": COMPACT, "refusal": None}
    assert told["usage"] == {
        "prompt_tokens": 120,
        "completion_tokens": 30,
        "total_tokens": 150,
        "prompt_tokens_details": {"cached_tokens": 64},
    }


def test_what_reaches_the_provider(bridge: Bridge) -> None:
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


def test_our_own_key_stays_here_and_the_providers_goes_along(bridge: Bridge) -> None:
    assert send(bridge, request(), Authorization="Bearer our-own-key").status_code == 200
    assert bridge.server.call.headers["authorization"] == f"Bearer {STUDIO_KEY}"
    refused = send(bridge, request(), **{"X-Provider-Key": "sk-wrong", "Authorization": f"Bearer {STUDIO_KEY}"})
    assert refusal(refused)["code"] == "provider_auth"
    assert bridge.server.calls[-1].headers["authorization"] == "Bearer sk-wrong"


@pytest.mark.parametrize("format", [{"type": "json_object"}, None])
def test_json_is_the_default(bridge: Bridge, format: object) -> None:
    assert ask(bridge, response_format=format)["choices"][0]["message"]["content"] == COMPACT


def test_text_where_it_is_asked_for(bridge: Bridge) -> None:
    told = ask(bridge, response_format={"type": "text"})
    assert told["choices"][0]["message"]["content"] == f"It looks {ANSWER['look']}."


def test_values_for_placeholders(bridge: Bridge) -> None:
    ask(bridge, variables={"subject": "the cup"})
    assert "what the cup looks like" in bridge.server.call.prompt


def test_tokens_that_nobody_told_are_not_invented(bridge: Bridge) -> None:
    assert "usage" not in ask(bridge, model="look@builtin")
    bridge.server.reply(b.Answer(ANSWER, usage="absent"))
    assert "usage" not in ask(bridge)
    whole = {"choices": [{"message": {"content": COMPACT}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 5}}
    bridge.server.reply(b.Raw(json.dumps(whole).encode()))
    assert "usage" not in ask(bridge)


def test_what_clients_send_without_meaning_it_is_taken(bridge: Bridge) -> None:
    harmless = {
        "n": 1,
        "user": "u-1",
        "metadata": {"a": "b"},
        "store": False,
        "stream": False,
        "stream_options": None,
        "tools": [],
        "tool_choice": "none",
        "parallel_tool_calls": True,
        "presence_penalty": 0,
        "frequency_penalty": 0.0,
        "logit_bias": None,
        "logprobs": False,
        "stop": None,
        "service_tier": "auto",
        "modalities": ["text"],
    }
    ask(bridge, **harmless)
    assert bridge.server.call.options == {}


# The conversation.


def test_only_the_last_turn_is_about_this_picture(bridge: Bridge) -> None:
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
IMAGE = {"type": "image_url", "image_url": {"url": DATA_URI}}
NOT_ONE_IMAGE: dict[str, tuple[list[dict[str, Any]], str]] = {
    "none": ([message("What is it?", image=None)], "holds none"),
    "only text": ([{"role": "user", "content": "What is it?"}], "holds none"),
    "two in a message": ([{"role": "user", "content": [IMAGE, IMAGE]}], "there are 2"),
    "two in a turn": ([message("This?"), message("Or this?")], "there are 2"),
    "not in the last message": ([message(), message("What is it?", image=None)], "elsewhere"),
    "before the assistant spoke": ([message(), ASSISTANT, message("More?", image=None)], "holds none"),
    "the system's": ([{"role": "system", "content": [IMAGE]}, message("?", image=None)], "elsewhere"),
    "nobody asked": ([message(), ASSISTANT], "holds none"),
}


@pytest.mark.parametrize("name", NOT_ONE_IMAGE)
def test_exactly_one_image(bridge: Bridge, name: str) -> None:
    messages, hint = NOT_ONE_IMAGE[name]
    answer = send(bridge, request(messages=messages))
    told = refusal(answer)
    assert (answer.status_code, told["code"], told["param"]) == (422, "invalid_request", "messages")
    assert hint in told["message"]
    assert bridge.server.calls == []


def test_an_image_by_its_address(bridge: Bridge) -> None:
    with HTTPServer(("127.0.0.1", 0), Pictures) as pictures:
        thread = Thread(target=pictures.serve_forever)
        thread.start()
        ask(bridge, messages=[message(image=f"http://127.0.0.1:{pictures.server_port}/photo.jpg")])
        pictures.shutdown()
        thread.join()
    assert bridge.server.call.image is not None
    assert bridge.server.call.image.data == PHOTO.read_bytes()


class Pictures(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        photo = PHOTO.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(photo)))
        self.end_headers()
        self.wfile.write(photo)

    def log_message(self, format: str, *args: object) -> None:
        pass


# Models.


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
    assert models.read(text) == name


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


# A schema of the caller's own.


def test_the_users_words_and_schema_are_a_perspective(bridge: Bridge) -> None:
    bridge.server.default = b.Answer({"mood": "calm"})
    words = 'Tell the {mood}, as in {"mood": "…"}.'
    told = ask(bridge, model="@studio", messages=[message(words, "In one word.")], response_format=FORMAT)
    assert told["choices"][0]["message"]["content"] == '{"mood":"calm"}'
    call = bridge.server.call
    assert call.prompt.startswith(f"{words}\n\nIn one word.")
    assert "<context>" not in call.prompt
    assert call.schema["properties"].keys() == {"mood"}
    assert call.body["response_format"]["json_schema"]["name"] == "caption"


def test_an_answer_that_breaks_the_callers_schema_is_asked_for_again(bridge: Bridge) -> None:
    bridge.server.reply(b.WrongSchema(), b.Answer({"mood": "calm"}))
    told = ask(bridge, model="@studio/tiny-vision", response_format=FORMAT)
    assert told["choices"][0]["message"]["content"] == '{"mood":"calm"}'
    assert told["usage"]["total_tokens"] == 300


REFUSED_SCHEMAS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "with a perspective": (request(response_format=FORMAT), "invalid_request", "response_format", "'look'"),
    "with neither": (request(model="@studio"), "invalid_request", "model", "perspective"),
    "without a model": (request(model=""), "invalid_request", "model", "perspective"),
    "text without a perspective": (
        request(model="", response_format={"type": "text"}),
        "invalid_request",
        "model",
        "json_schema",
    ),
    "without words": (
        request(model="@studio", messages=[message(" ")], response_format=FORMAT),
        "invalid_request",
        "messages",
        "what the model is to do",
    ),
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
def test_a_schema_in_the_wrong_place(bridge: Bridge, name: str) -> None:
    body, code, param, hint = REFUSED_SCHEMAS[name]
    answer = send(bridge, body)
    told = refusal(answer)
    assert (answer.status_code, told["code"], told["param"]) == (422, code, param), told
    assert hint in told["message"]
    assert bridge.server.calls == []


# What is refused.


def part(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [IMAGE, fields]}]}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "n": ({"n": 2}, "n"),
    "tools": ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    "functions": ({"functions": [{"name": "f"}]}, "functions"),
    "tool_choice": ({"tool_choice": "required"}, "tool_choice"),
    "stop": ({"stop": ["\n"]}, "stop"),
    "logprobs": ({"logprobs": True}, "logprobs"),
    "presence_penalty": ({"presence_penalty": 0.5}, "presence_penalty"),
    "store": ({"store": True}, "store"),
    "reasoning_effort": ({"reasoning_effort": "high"}, "reasoning_effort"),
    "unknown": ({"temprature": 1}, "temprature"),
    "temperature": ({"temperature": 3}, "temperature"),
    "warm": ({"temperature": "warm"}, "temperature"),
    "top_p": ({"top_p": 0}, "top_p"),
    "seed": ({"seed": -1}, "seed"),
    "max_tokens": ({"max_tokens": 0}, "max_tokens"),
    "max_completion_tokens": ({"max_completion_tokens": -5}, "max_completion_tokens"),
    "two limits": ({"max_tokens": 10, "max_completion_tokens": 20}, "max_completion_tokens"),
    "no messages": ({"messages": []}, "messages"),
    "no list": ({"messages": "hello"}, "messages"),
    "a tool's message": ({"messages": [{"role": "tool", "content": "7"}, message()]}, "messages[0].role"),
    "sound": (part(type="input_audio", input_audio={}), "messages[0].content[1].type"),
    "a part without its text": (part(type="text"), "messages[0].content[1]"),
    "a format nobody knows": ({"response_format": {"type": "xml"}}, "response_format.type"),
    "a provider without a model": ({"model": "look@vllm"}, "model"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_honoured_is_refused_by_name(bridge: Bridge, name: str) -> None:
    changes, param = REFUSED[name]
    answer = send(bridge, request(**changes))
    told = refusal(answer)
    assert (answer.status_code, told["code"], told["type"]) == (422, "invalid_request", "invalid_request_error")
    assert told["param"] == param
    assert param.split(".")[0].split("[")[0] in told["message"]
    assert bridge.server.calls == []


def test_everything_that_is_not_offered_is_named_at_once(bridge: Bridge) -> None:
    told = refusal(send(bridge, request(n=2, stop="x", tools=[{}])))
    assert "n, stop, tools" in told["message"]


IMAGES = {
    "private address": ("http://10.0.0.1/a.jpg", 403, "address_refused"),
    "not http": ("file:///etc/passwd", 422, "image_unreachable"),
    "not base64": ("data:image/jpeg;base64,!!!", 422, "invalid_image"),
    "not an image": ("data:image/jpeg;base64,aGVsbG8gd29ybGQgaGVsbG8=", 415, "unsupported_image"),
    "too large": ("data:image/jpeg;base64," + "A" * 4_100_000, 413, "image_too_large"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_that_cannot_be_had(bridge: Bridge, name: str) -> None:
    image, status, code = IMAGES[name]
    answer = send(bridge, request(messages=[message(image=image)]))
    told = refusal(answer)
    assert (answer.status_code, told["code"], told["param"]) == (status, code, "messages")


def test_unknown_provider(bridge: Bridge) -> None:
    answer = send(bridge, request(model="look@studoi"))
    told = refusal(answer)
    assert (answer.status_code, told["code"], told["param"]) == (404, "unknown_provider", "model")


def test_every_failure_of_this_door_has_openais_shape(bridge: Bridge) -> None:
    url = bridge.url
    found = {
        "json": httpx.post(url + CHAT, content=b"{", trust_env=False),
        "empty": httpx.post(url + CHAT, trust_env=False),
        "large": httpx.post(url + CHAT, content=b" " * 9_000_000, trust_env=False),
        "upload": httpx.post(url + CHAT, files={"image": PHOTO.read_bytes()}, trust_env=False),
        "method": httpx.get(url + CHAT, trust_env=False),
        "path": httpx.post(url + "/responses", json={}, trust_env=False),
    }
    told = {name: (answer.status_code, refusal(answer)["code"]) for name, answer in found.items()}
    assert told == {
        "json": (400, "invalid_json"),
        "empty": (400, "invalid_json"),
        "large": (413, "body_too_large"),
        "upload": (422, "invalid_request"),
        "method": (405, "method_not_allowed"),
        "path": (404, "not_found"),
    }
    elsewhere = httpx.post(bridge.service.url + "/api/v1" + CHAT, json={}, trust_env=False)
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (404, "not_found")


def test_a_wait_and_a_useless_repeat_are_told(bridge: Bridge) -> None:
    bridge.server.default = b.Status(429, retry_after=300)
    limited = send(bridge, request())
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "300")
    assert refusal(limited)["type"] == "rate_limit_error"
    assert "x-should-retry" not in limited.headers
    bridge.server.default = b.Length()
    cut = send(bridge, request())
    assert (cut.status_code, refusal(cut)["code"], refusal(cut)["type"]) == (502, "answer_truncated", "api_error")
    assert cut.headers["x-should-retry"] == "false"


# Streams.


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
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(bridge.url + CHAT, json=request(stream=stream), timeout=httpx.Timeout(5, read=0.3), trust_env=False)
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

    async with open_resources(settings) as resources:
        asked = chat.read(request(stream=True), resources, "")
        await ChunkStream(asked, resources, "id", ping=0.01)({"type": "http"}, stays, keep)
    assert sent.count(b": ping\n\n") >= 2
    assert events(b"".join(sent).decode())[-1] == "[DONE]"


def test_nothing_of_a_request_is_logged(bridge: Bridge) -> None:
    send(bridge, request(messages=[message("A very private remark.")]), **{"X-Provider-Key": "sk-private"})
    for secret in ("A very private remark.", "sk-private", STUDIO_KEY, DATA_URI[200:260]):
        assert secret not in bridge.service.log
