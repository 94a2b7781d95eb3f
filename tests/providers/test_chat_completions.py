"""The Chat Completions protocol as data: request bodies, and unusual responses."""

from dataclasses import replace
from typing import Any

import pytest

from providers import chat_completions, errors
from providers.base import Image, Turn, VisionRequest
from providers.gateways import ROWS
from providers.openai import FLAVOUR
from providers.profiles import profile

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
BY_KIND = {row.spec.kind: row for row in (FLAVOUR, *ROWS)}


def body(kind: str, request: VisionRequest = REQUEST, **options: Any) -> dict[str, Any]:
    return chat_completions.request_body(request, BY_KIND[kind], profile(kind, request.model), options)


def test_a_schema_name_is_made_valid() -> None:
    named = body("openai", replace(REQUEST, schema_name="größe 1" * 20))["response_format"]["json_schema"]["name"]
    assert named.isascii()
    assert len(named) == 64


def read(reply: Any) -> Any:
    return chat_completions.completion(reply, REQUEST, (), "X")


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
    answer = chat_completions.Answer("X", streamed=True)
    events = [delta("A "), delta("boat."), delta(None, "stop"), delta("!"), delta(None, "length"), {"choices": None}]
    assert "".join(answer.read(event, "delta") for event in events) == "A boat."
    assert answer.completion("m1", ()).text == "A boat."


@pytest.mark.parametrize("listed", [{"data": [{"id": "a"}, {"id": 3}, "b"]}, {"models": [{"id": "a"}]}, [{"id": "a"}]])
def test_models(listed: Any) -> None:
    assert [(model.id, model.name) for model in chat_completions.models(listed, "X")] == [("a", "a")]
