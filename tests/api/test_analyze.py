"""Several perspectives of one image: results, failures and provider requests."""

import re
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import pytest

from tests.api import streams
from tests.api.streams import GOOD, PHOTO, analysis, inline, post
from tests.contract.kinds import Kind
from tests.contract.schemas import RICH
from tests.servers import Call, OpenAIServer, WireServer
from tests.servers import behaviours as b
from tests.service import Service


def analyze(service: Service, body: dict[str, Any], status: int = 200) -> dict[str, Any]:
    reply = post(service, "/analyze", body)
    assert reply.status_code == status, reply.text
    return reply.json()


def test_results_are_in_the_order_of_the_request(service: Service, vllm_server: OpenAIServer) -> None:
    perspectives = ["training_tags", inline("zebra"), "alt_text", inline("ant", json_schema=RICH)]
    response = analyze(service, analysis(vllm_server, *perspectives))
    names = ["training_tags", "zebra", "alt_text", "ant"]
    assert list(response["results"]) == [result["perspective"] for result in response["results"].values()] == names
    assert set(response) == {"results", "errors", "synthesis", "image", "usage", "timing", "request_id"}
    assert (response["errors"], response["synthesis"]) == ({}, None)
    assert response["usage"] == {"input_tokens": 480, "output_tokens": 120, "cached_tokens": 256}
    assert (response["image"]["width"], response["image"]["bytes"]) == (600, PHOTO.stat().st_size)
    assert set(response["timing"]) == {"image", "perspectives", "total"}
    for caption in response["results"].values():
        assert caption["usage"] == {"input_tokens": 120, "output_tokens": 30, "cached_tokens": 64}
        assert {"model", "total"} <= set(caption["timing"])
        assert caption["request_id"] == response["request_id"]


def test_one_failure_does_not_fail_the_others(service: Service, vllm_server: OpenAIServer) -> None:
    vllm_server.reply(b.Status(401))
    response = analyze(service, analysis(vllm_server, *(inline(f"p{number}") for number in range(4))))
    assert (len(response["results"]), len(response["errors"])) == (3, 1)
    ((name, problem),) = response["errors"].items()
    assert name not in response["results"]
    assert (problem["status"], problem["code"], problem["provider"]) == (502, "provider_auth", "vllm")
    assert problem["instance"] == response["request_id"]
    assert response["usage"]["input_tokens"] == 360


def test_all_failed_with_the_same_status(service: Service, vllm_server: OpenAIServer) -> None:
    vllm_server.default = b.NoCredit()
    reply = post(service, "/analyze", analysis(vllm_server, inline("one"), inline("two"), synthesize="alt_text"))
    response = reply.json()
    assert (reply.status_code, response["status"], response["code"]) == (402, 402, "provider_quota")
    assert list(response["errors"]) == ["one", "two", "alt_text"]
    assert response["errors"]["one"]["code"] == "provider_quota"
    assert "nothing to synthesize" in response["errors"]["alt_text"]["detail"]
    assert response["message"] == response["detail"]


REJECTED: dict[str, tuple[dict[str, Any], int, str]] = {
    "twice": ({"perspectives": ["alt_text", "alt_text"]}, 422, "Repeated: alt_text"),
    "synthesize named before": ({"perspectives": ["alt_text"], "synthesize": "alt_text"}, 422, "Repeated: alt_text"),
    "33": ({"perspectives": [inline(f"p{number}") for number in range(33)]}, 422, "at most 32"),
    "unknown": ({"perspectives": ["alt_text", "alt_txt"]}, 404, "alt_txt"),
    "unknown variable": ({"perspectives": ["alt_text"], "variables": {"subjekt": "x"}}, 422, "subjekt"),
    "a caption's field": ({"perspectives": ["alt_text"], "perspective": "alt_text"}, 422, "not a field"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_invalid_requests_are_rejected_before_any_work(service: Service, vllm_server: OpenAIServer, name: str) -> None:
    body, status, part = REJECTED[name]
    response = analyze(service, {**analysis(vllm_server), **body} if "perspectives" in body else {"image": {}}, status)
    assert part in response["detail"]
    assert vllm_server.calls == []


def test_the_synthesizer_gets_the_other_captions(service: Service, vllm_server: OpenAIServer) -> None:
    names = inline("first", "FIRST", context_template="I saw {caption}"), inline("second", "SECOND")
    more = {"synthesize": inline("last", "LAST"), "context": ["Taken in May."]}
    vllm_server.default = b.Answer(GOOD)
    response = analyze(service, analysis(vllm_server, *names, **more))
    assert list(response["results"]) == ["first", "second"]
    assert response["synthesis"]["perspective"] == "last"
    assert set(response["timing"]) == {"image", "perspectives", "synthesis", "total"}
    assert response["usage"]["input_tokens"] == 360
    call = vllm_server.calls[-1]
    assert "</context>\n\nLAST" in call.prompt
    contexts = re.findall(r"<context>\n(.*?)\n</context>", call.prompt, re.DOTALL)
    assert contexts == ["first:\nI saw a cup on a table", "second:\na cup on a table", "Taken in May."]
    assert call.image is not None
    assert call.image.data == PHOTO.read_bytes()


def test_perspectives_run_concurrently(service: Service, vllm_server: OpenAIServer) -> None:
    vllm_server.default = b.Hold()
    body = analysis(vllm_server, *(inline(f"p{number}") for number in range(32)))
    with ThreadPoolExecutor(1) as thread:
        reply = thread.submit(analyze, service, body)
        vllm_server.wait_for_calls(32)
        assert not reply.done()
        vllm_server.release()
        assert len(reply.result()["results"]) == 32


def test_everything_before_the_prompt_is_identical(service: Service, kind: Kind, server: WireServer) -> None:
    perspectives = ["alt_text", inline("two", json_schema=RICH), inline("three", "Something else.")]
    more = {"synthesize": inline("last"), "global_context": "Be brief.", "seed": 7}
    response = analyze(service, {**streams.target(server, kind), "perspectives": perspectives, **more})
    assert len(response["results"]) == 3
    assert len(server.calls) == 4
    for call in server.calls:
        assert call.parts == ["image", "text"]
        assert [picture.sha256 for picture in call.images] == [sha256(PHOTO.read_bytes()).hexdigest()]
    assert response["usage"]["cached_tokens"] == (64 * 4 if kind.caches else None)
    heads = {before_the_prompt(call) for call in server.calls}
    assert len(heads) == 1
    assert "Be brief." in heads.pop()


def before_the_prompt(call: Call) -> str:
    """Return the part of the provider request before the prompt: system text and image."""
    raw = call.raw.decode()
    if call.path == "/api/chat":  # Ollama's template puts the images of a message before its text
        system, user = call.body["messages"][:2]
        return f"{system} {user['images']}"
    if "contents" in call.body:  # Gemini reads the system instruction first
        return str(call.body["systemInstruction"]) + raw[raw.index('"contents"') : raw.index('"text"')]
    messages = raw[raw.index('"messages"') :]
    system = str(call.body.get("system", ""))  # Anthropic reads it before the messages
    return system + messages[: messages.index('"text":')]
