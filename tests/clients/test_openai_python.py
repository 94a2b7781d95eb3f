"""The official Python client of OpenAI against a running bridge."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.clients.bridge import ANSWER, MODEL, Bridge, message
from tests.servers import behaviours as b

pytestmark = pytest.mark.slow

MESSAGES: Any = [{"role": "system", "content": "Be brief."}, message("Taken at the fair.")]


class Mood(BaseModel):
    """A schema of the caller."""

    mood: str
    colours: list[str]


@pytest.fixture
def client(bridge: Bridge) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=bridge.url, api_key="anything", max_retries=0, timeout=60) as client:
        yield client


def test_a_caption(client: openai.OpenAI) -> None:
    created = client.chat.completions.create(model=MODEL, messages=MESSAGES, temperature=0.2, max_completion_tokens=200)
    assert json.loads(created.choices[0].message.content or "") == ANSWER
    assert created.choices[0].finish_reason == "stop"
    assert created.id == f"chatcmpl-{created._request_id}"
    assert created.usage is not None
    assert created.usage.prompt_tokens_details is not None
    assert (created.usage.total_tokens, created.usage.prompt_tokens_details.cached_tokens) == (150, 64)


def test_parse_with_a_model_of_the_caller(bridge: Bridge, client: openai.OpenAI) -> None:
    mood = {"mood": "calm", "colours": ["brown", "white"]}
    bridge.server.reply(b.WrongSchema(), b.Answer(mood))
    created = client.chat.completions.parse(model="@studio", messages=MESSAGES, response_format=Mood)
    assert created.choices[0].message.parsed == Mood.model_validate(mood)


def test_a_stream_after_a_re_ask_has_one_answer(bridge: Bridge, client: openai.OpenAI) -> None:
    bridge.server.reply(b.WrongSchema({"look": "cold"}), b.Answer(ANSWER))
    options: Any = {"include_usage": True}
    chunks = list(client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True, stream_options=options))
    assert json.loads("".join(item.choices[0].delta.content or "" for item in chunks if item.choices)) == ANSWER
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage is not None
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], 300)
    assert len(bridge.server.calls) == 2


def test_closing_a_stream_cancels_the_provider_call(bridge: Bridge, client: openai.OpenAI) -> None:
    bridge.server.default = b.Hang()
    stream = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
    next(iter(stream))
    bridge.server.wait_for_calls(1)
    stream.close()
    bridge.server.wait_for_hang_ups(1)
