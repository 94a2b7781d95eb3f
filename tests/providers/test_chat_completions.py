"""The Chat Completions protocol as data: request bodies, and unusual responses."""

from dataclasses import replace
from typing import Any

import pytest

from providers import chat_completions, errors
from providers.base import Completion, Image, Turn, VisionRequest
from providers.gateways import BY_KIND

SCHEMA = {"type": "object", "properties": {"caption": {"type": "string", "maxLength": 9}}, "required": ["caption"]}
REQUEST = VisionRequest(
    model="m1",
    prompt="Look.",
    timeout=5,
    image=Image(b"jpeg", "image/jpeg", 1, 1),
    system="Be brief.",
    schema=SCHEMA,
    turns=(Turn("assistant", "{}"), Turn("user", "Again.")),
)


def body(kind: str, request: VisionRequest = REQUEST, **options: Any) -> dict[str, Any]:
    return chat_completions.request_body(request, BY_KIND[kind], options)


def test_strict_is_sent_to_the_servers_that_know_it() -> None:
    strict = {kind: body(kind)["response_format"]["json_schema"].get("strict") for kind in BY_KIND}
    assert {kind for kind, value in strict.items() if value} == {"openai", "openrouter", "litellm"}
    relaxed = body("openai", replace(REQUEST, output_mode="json_schema_relaxed"))
    assert relaxed["response_format"]["json_schema"]["strict"] is False


def test_a_schema_name_is_made_valid() -> None:
    named = body("openai", replace(REQUEST, schema_name="größe 1" * 20))["response_format"]["json_schema"]["name"]
    assert named.isascii()
    assert len(named) == 64


def test_openrouter_requires_the_parameters_only_with_a_schema() -> None:
    """simonoppowa/OpenNutriTracker#655; block/buzz#3018: it rejects every endpoint that lacks a parameter."""
    assert body("openrouter")["provider"] == {"require_parameters": True}
    assert "provider" not in body("openrouter", replace(REQUEST, output_mode="prompt"))


def test_kinds_that_send_the_schema_beside_json_object() -> None:
    """Issue 10, row 8: llama-cpp-python 0.3.36 rejects json_schema and reads the schema here."""
    sent = {kind: body(kind, replace(REQUEST, output_mode="json_object"))["response_format"] for kind in BY_KIND}
    assert {kind for kind, value in sent.items() if "schema" in value} == {"llamacpp", "openai-compatible"}


def test_configured_options_are_sent() -> None:
    sent = body("openai", reasoning_effort="minimal", extra_body={"service_tier": "flex"})
    assert sent["reasoning_effort"] == "minimal"
    assert sent["service_tier"] == "flex"
    assert "service_tier" not in body("openai")


def answer(streamed: bool) -> chat_completions.ChatAnswer:
    return chat_completions.ChatAnswer(BY_KIND["openai"].spec, REQUEST, streamed=streamed)


def read(reply: Any) -> Completion:
    whole = answer(streamed=False)
    whole.read_response(reply)
    return whole.completion()


def whole(message: Any, finish: Any = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}], **more}


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ({}, errors.BadReply),
        ({"choices": "none"}, errors.BadReply),
        ({"choices": [None, 3, {"index": 1, "message": {"content": "other"}}]}, errors.BadReply),
        (whole(None), errors.BadReply),
        (whole({"content": None, "tool_calls": [{}]}, "tool_calls"), errors.BadReply),
        (whole({"content": "A"}, "error"), errors.BadReply),
    ],
)
def test_responses_without_an_answer(reply: Any, expected: type[errors.ProviderError]) -> None:
    with pytest.raises(errors.ProviderError) as caught:
        read(reply)
    assert type(caught.value) is expected


def delta(text: Any, finish: Any = None) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}, "finish_reason": finish}]}


def test_deltas_after_the_finish_reason_are_ignored() -> None:
    stream = answer(streamed=True)
    events = [delta("A "), delta("boat."), delta(None, "stop"), delta("!"), delta(None, "length"), {"choices": None}]
    assert "".join(stream.read_event(event) for event in events) == "A boat."
    assert stream.completion().text == "A boat."


@pytest.mark.parametrize("listed", [{"data": [{"id": "a"}, {"id": 3}, "b"]}, {"models": [{"id": "a"}]}, [{"id": "a"}]])
def test_models(listed: Any) -> None:
    assert [(model.id, model.name) for model in chat_completions.models(listed, "X")] == [("a", "a")]
