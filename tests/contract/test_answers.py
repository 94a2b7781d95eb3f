"""What every client does when its server answers."""

import json
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from typing import Any

import anyio
import pytest

from providers.base import LADDER, Completion, Delta, OutputMode, ProviderConfig, Turn, VisionRequest
from providers.pool import Pool
from providers.registry import client
from providers.usage import Usage
from tests.contract.kinds import EVERY_KIND
from tests.contract.schemas import PLAIN, RICH
from tests.contract.target import PHOTO, Target
from tests.servers import SENTENCE
from tests.servers.behaviours import Answer, Drip, Fenced, Prose

UNICODE = "Ein Boot 🛶 im Hafen — „schön“, 雨の夜, \u202everkehrt\u202c"


@EVERY_KIND
async def test_text_model_and_usage(to: Target, streamed: bool) -> None:
    completion = await to.ask(streamed)
    assert completion.text == SENTENCE
    assert completion.model == to.server.models[0]
    assert completion.usage == Usage(120, 30, 64 if to.kind.caches else None)
    assert completion.warnings == ()


async def test_model_is_the_one_that_the_server_says_answered(to: Target, streamed: bool) -> None:
    to.server.reply(Answer("A boat.", model="tiny-vision-2026-11-01"))
    assert (await to.ask(streamed)).model == "tiny-vision-2026-11-01"


@pytest.mark.parametrize("told", ["absent", "zeros"])
async def test_tokens_that_nobody_told_are_unknown_and_not_zero(to: Target, streamed: bool, told: Any) -> None:
    to.server.reply(Answer("A boat.", usage=told))
    usage = (await to.ask(streamed)).usage
    assert usage is None or usage == Usage()


async def test_deltas_make_up_the_text_and_the_completion_comes_last(to: Target) -> None:
    to.server.reply(Answer(UNICODE, pieces=9))
    *deltas, completion = await to.stream()
    assert isinstance(completion, Completion)
    assert all(isinstance(delta, Delta) for delta in deltas)
    assert len(deltas) > 1
    assert "".join(delta.text for delta in deltas if isinstance(delta, Delta)) == completion.text == UNICODE


async def test_reply_may_be_split_between_any_two_bytes(to: Target, streamed: bool) -> None:
    to.server.reply(Drip(0, 1, Answer(UNICODE)))
    assert (await to.ask(streamed)).text == UNICODE


@pytest.mark.parametrize("behaviour", [Fenced({"caption": "x"}), Prose({"caption": "x"})])
async def test_text_is_handed_on_as_it_is(to: Target, streamed: bool, behaviour: Any) -> None:
    to.server.reply(behaviour)
    text = (await to.ask(streamed)).text
    assert text.startswith(("```json", "Sure!"))
    assert '{"caption": "x"}' in text


async def test_thinking_is_no_part_of_the_answer(to: Target, streamed: bool) -> None:
    to.server.reply(Answer("A boat.", thinking="Let me look at this."))
    assert (await to.ask(streamed)).text == "A boat."


@EVERY_KIND
@pytest.mark.parametrize("mode", LADDER)
@pytest.mark.parametrize("schema", [PLAIN, RICH], ids=["plain", "rich"])
async def test_server_takes_the_schema_in_every_mode(
    to: Target, streamed: bool, mode: OutputMode, schema: dict[str, Any]
) -> None:
    if mode == "json_object" and not to.kind.json_object:
        pytest.skip("the server knows no json_object")
    completion = await to.ask(streamed, schema=schema, output_mode=mode)
    call = to.server.call
    wanted = {"json_schema_relaxed": "json_schema", "prompt": "text"}.get(mode, mode)
    assert call.mode == wanted
    if wanted == "json_schema":
        assert list(call.schema["properties"]) == list(schema["properties"])  # models write in this order
        assert "caption" in call.schema["required"]
    else:
        told = "".join([*call.texts, json.dumps(call.schema, separators=(",", ":"))])
        assert json.dumps(schema["properties"]["caption"], separators=(",", ":")) in told
    if to.server.models and to.kind.constrains:
        assert "caption" in json.loads(completion.text)


@EVERY_KIND
async def test_schema_is_told_in_words_only_to_models_that_would_not_read_it(to: Target) -> None:
    """A grammar is no part of the prompt: vllm-project/vllm#31804, ggml-org/llama.cpp#18492, ollama/ollama#8162."""
    await to.complete(schema=RICH)
    reads_it = to.kind.kind in ("openai", "gemini", "anthropic")
    prompt = to.server.call.prompt
    assert prompt == "Describe the picture." if reads_it else prompt.startswith("Describe the picture.")
    if not reads_it:
        assert json.dumps(to.server.call.schema, separators=(",", ":")) in prompt


@EVERY_KIND
@pytest.mark.parametrize("schema", [PLAIN, RICH, {"type": "object", "additionalProperties": {"type": "string"}}])
def test_no_rung_of_the_ladder_repeats_the_one_above(to: Target, schema: dict[str, Any]) -> None:
    request: VisionRequest | None = to.request(schema=schema)
    bodies: list[object] = []
    while request is not None:
        bodies.append(to.client.written(request))
        last, request = request.output_mode, to.client.lower(request)
    assert last == "prompt"
    assert all(above != below for above, below in pairwise(bodies))


def test_vllm_is_not_asked_twice_with_the_same_schema(pool: Pool) -> None:
    """Nothing in this schema is there to be relaxed."""
    vllm = client(ProviderConfig("vllm", "vllm", "http://127.0.0.1:9"), pool)
    schema = {"type": "object", "additionalProperties": {"type": "string"}}
    lowered = vllm.lower(VisionRequest("m", "Look.", 5, schema=schema))
    assert lowered is not None
    assert lowered.output_mode == "json_object"


async def test_no_schema_means_plain_text(to: Target, streamed: bool) -> None:
    await to.ask(streamed)
    assert to.server.call.mode == "text"
    assert to.server.call.schema is None


async def test_image_bytes_arrive_untouched_and_before_the_prompt(to: Target, streamed: bool) -> None:
    await to.ask(streamed)
    call = to.server.call
    assert call.image is not None
    assert call.image.sha256 == sha256(PHOTO.data).hexdigest()
    assert call.parts == ["image", "text"]
    assert call.prompt == "Describe the picture."
    assert len(call.images) == 1


async def test_media_type_is_the_real_one(to: Target, png: bytes) -> None:
    await to.complete(image=replace(PHOTO, data=png, media_type="image/png"))
    image = to.server.call.image
    assert image is not None
    assert image.format == "PNG"


async def test_no_image_leaves_no_trace_of_one(to: Target, streamed: bool) -> None:
    await to.ask(streamed, image=None)
    assert to.server.call.parts == ["text"]
    assert "image" not in to.server.call.raw.decode()


async def test_system_text_stands_where_the_protocol_wants_it(to: Target, streamed: bool) -> None:
    await to.ask(streamed, system="Answer in British English.")
    assert to.server.call.system == "Answer in British English."
    assert to.server.call.prompt == "Describe the picture."


@pytest.mark.parametrize("blank", ["", " \n"])
async def test_blank_system_text_is_not_sent(to: Target, blank: str) -> None:
    await to.complete(system=blank)
    body = to.server.call.raw.decode()
    assert '"system"' not in body
    assert "systemInstruction" not in body


async def test_turns_come_after_the_picture_in_order(to: Target, streamed: bool) -> None:
    turns = (
        Turn("assistant", '{"a": 1}'),
        Turn("user", "a must be text"),
        Turn("assistant", "{}"),
        Turn("user", "Again."),
    )
    await to.ask(streamed, turns=turns, system="Be brief.")
    call = to.server.call
    assert call.parts == ["image", "text"]
    assert [text for _, text in call.turns] == [turn.text for turn in turns]
    model = "model" if to.kind.kind == "gemini" else "assistant"
    assert [role for role, _ in call.turns] == [model, "user", model, "user"]


async def test_same_bytes_before_the_prompt_whatever_the_perspective(to: Target) -> None:
    """Prefix caching reads a picture once only if nothing before it changes (measured with vLLM and llama-server)."""
    for prompt, schema in (("First.", PLAIN), ("Second one.", RICH)):
        await to.complete(prompt=prompt, schema=schema, system="Be brief.")
    first, second = (
        messages_before(call.raw, prompt)
        for call, prompt in zip(to.server.calls, ("First.", "Second one."), strict=True)
    )
    assert first == second


def messages_before(raw: bytes, prompt: str) -> str:
    body = json.loads(raw)
    messages = json.dumps(body.get("messages", [body.get("contents"), body.get("systemInstruction")]))
    return messages.partition(prompt)[0]


async def test_extra_headers_are_sent(to: Target, streamed: bool) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await to.ask(streamed, headers={"traceparent": trace})
    assert to.server.call.headers["traceparent"] == trace


async def test_connections_are_kept_and_used_again(to: Target) -> None:
    for streamed in (False, True, False, True):
        await to.ask(streamed)
    assert to.server.connections == 1


async def test_calls_at_once_do_not_mix(to: Target, streamed: bool) -> None:
    texts = [f"Picture number {number} shows {UNICODE}" for number in range(8)]
    to.server.reply(*(Drip(0.001, 64, Answer(text)) for text in texts))
    found: list[str] = []

    async def ask() -> None:
        found.append((await to.ask(streamed)).text)

    async with anyio.create_task_group() as group:
        for _ in texts:
            group.start_soon(ask)
    assert sorted(found) == sorted(texts)
