"""What every client sends, and what it returns for the server's answer."""

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
from tests.servers import behaviours as b

UNICODE = "Ein Boot 🛶 im Hafen — „schön“, 雨の夜, \u202everkehrt\u202c"
OPEN_OBJECT = {"type": "object", "additionalProperties": {"type": "string"}}


@EVERY_KIND
async def test_text_model_and_usage(to: Target, streamed: bool) -> None:
    completion = await to.ask(streamed)
    usage = Usage(120, 30, 64 if to.kind.caches else None)
    assert completion == Completion(SENTENCE, to.server.models[0], usage)


async def test_the_model_is_the_one_that_the_server_names(to: Target, streamed: bool) -> None:
    to.server.reply(b.Answer("A boat.", model="tiny-vision-2026-11-01"))
    assert (await to.ask(streamed)).model == "tiny-vision-2026-11-01"


@pytest.mark.parametrize("counts", ["absent", "zeros"])
async def test_tokens_that_are_not_reported_are_unknown(to: Target, streamed: bool, counts: Any) -> None:
    to.server.reply(b.Answer("A boat.", usage=counts))
    assert (await to.ask(streamed)).usage in (None, Usage())


async def test_deltas_add_up_to_the_text_and_the_completion_is_last(to: Target) -> None:
    to.server.reply(b.Answer(UNICODE, pieces=9))
    *deltas, completion = await to.stream()
    assert isinstance(completion, Completion)
    assert len(deltas) > 1
    assert "".join(delta.text for delta in deltas if isinstance(delta, Delta)) == completion.text == UNICODE


async def test_a_response_may_be_split_between_any_two_bytes(to: Target, streamed: bool) -> None:
    to.server.reply(b.Drip(0, 1, b.Answer(UNICODE[:20], pieces=2)))
    assert (await to.ask(streamed)).text == UNICODE[:20]


@pytest.mark.parametrize(
    ("behaviour", "start"),
    [
        (b.Fenced({"caption": "x"}), "```json"),
        (b.Prose({"caption": "x"}), "Sure!"),
        (b.Answer("A boat.", thinking="Let me look at this."), "A boat."),
    ],
)
async def test_the_text_is_returned_as_it_is_without_the_models_thoughts(
    to: Target, streamed: bool, behaviour: b.Behaviour, start: str
) -> None:
    to.server.reply(behaviour)
    assert (await to.ask(streamed)).text.startswith(start)


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (b.Events("the last again"), SENTENCE),
        (b.Events("with blanks"), SENTENCE),
        (b.Events("without end mark"), SENTENCE),
        (b.Events("end mark twice"), SENTENCE),
        (b.Empties("A boat."), "A boat."),
        (b.Candidates("A boat."), "A boat."),
    ],
    ids=str,
)
async def test_unusual_but_complete_streams(to: Target, behaviour: b.Behaviour, expected: str) -> None:
    """Proxies repeat and pad events; a second candidate is not part of the answer."""
    kind = to.kind.kind
    if kind == "gemini" and behaviour == b.Events("the last again"):
        pytest.skip("the last event holds text, and text that is sent twice counts twice")
    if kind in ("ollama", "gemini") and behaviour == b.Events("with blanks"):
        pytest.skip("the SDK parses every line as JSON; these servers send no comments")
    if kind in ("ollama", "anthropic") and isinstance(behaviour, b.Candidates):
        pytest.skip("the protocol has no candidates")
    to.server.reply(behaviour)
    assert (await to.ask(True)).text == expected


@EVERY_KIND
@pytest.mark.parametrize("mode", LADDER)
@pytest.mark.parametrize(("schema", "streamed"), [(PLAIN, True), (RICH, False)], ids=["plain", "rich"])
async def test_the_server_accepts_the_schema_in_every_mode(
    to: Target, streamed: bool, mode: OutputMode, schema: dict[str, Any]
) -> None:
    if mode == "json_object" and not to.kind.json_object:
        pytest.skip("the server has no json_object")
    completion = await to.ask(streamed, schema=schema, output_mode=mode)
    call = to.server.call
    expected = {"json_schema_relaxed": "json_schema", "prompt": "text"}.get(mode, mode)
    assert call.mode == expected
    if expected == "json_schema":
        assert list(call.schema["properties"]) == list(schema["properties"])  # models write in this order
        assert "caption" in call.schema["required"]
    else:
        shown = "".join([*call.texts, json.dumps(call.schema, separators=(",", ":"))])
        assert json.dumps(schema["properties"]["caption"], separators=(",", ":")) in shown
    if to.server.models and to.kind.constrains:
        assert "caption" in json.loads(completion.text)


@EVERY_KIND
async def test_the_schema_is_in_the_prompt_where_the_model_would_not_see_it(to: Target) -> None:
    """A grammar is not part of the prompt: vllm-project/vllm#31804, ggml-org/llama.cpp#18492, ollama/ollama#8162."""
    await to.complete(schema=RICH)
    prompt = to.server.call.prompt
    if to.kind.kind in ("openai", "gemini", "anthropic"):
        assert prompt == "Describe the picture."
    else:
        assert prompt.startswith("Describe the picture.")
        assert json.dumps(to.server.call.schema, separators=(",", ":")) in prompt


@EVERY_KIND
@pytest.mark.parametrize("schema", [PLAIN, RICH, OPEN_OBJECT])
def test_no_output_mode_repeats_the_body_of_the_one_above(to: Target, schema: dict[str, Any]) -> None:
    request: VisionRequest | None = to.request(schema=schema)
    bodies: list[object] = []
    while request is not None:
        bodies.append(to.client.body(request))
        last, request = request.output_mode, to.client.lower(request)
    assert last == "prompt"
    assert all(above != below for above, below in pairwise(bodies))


def test_a_mode_that_would_not_change_the_body_is_skipped(pool: Pool) -> None:
    """Nothing in this schema can be relaxed."""
    vllm = client(ProviderConfig("vllm", "vllm", "http://127.0.0.1:9"), pool)
    lowered = vllm.lower(VisionRequest("m", "Look.", 5, schema=OPEN_OBJECT))
    assert lowered is not None
    assert lowered.output_mode == "json_object"


async def test_an_image_is_sent_unchanged_before_the_prompt(to: Target, streamed: bool, png: bytes) -> None:
    await to.ask(streamed, system="Answer in British English.")
    await to.ask(streamed, image=replace(PHOTO, data=png, media_type="image/png"), system=" \n")
    jpeg, other = to.server.calls
    assert jpeg.image is not None
    assert jpeg.image.sha256 == sha256(PHOTO.data).hexdigest()
    assert (jpeg.parts, len(jpeg.images), jpeg.prompt) == (["image", "text"], 1, "Describe the picture.")
    assert (jpeg.system, jpeg.mode, jpeg.schema) == ("Answer in British English.", "text", None)
    assert other.image is not None
    assert (other.image.format, other.image.media_type) in (("PNG", "image/png"), ("PNG", ""))
    assert not {"system", "systemInstruction"} & set(json.loads(other.raw.decode()))
    assert '"system"' not in other.raw.decode()


async def test_a_request_without_an_image(to: Target, streamed: bool) -> None:
    await to.ask(streamed, image=None)
    assert to.server.call.parts == ["text"]
    assert "image" not in to.server.call.raw.decode()


async def test_turns_follow_the_image_in_order(to: Target, streamed: bool) -> None:
    turns = (Turn("assistant", '{"a": 1}'), Turn("user", "a must be text"), Turn("assistant", "{}"), Turn("user", "b"))
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await to.ask(streamed, turns=turns, system="Be brief.", headers={"traceparent": trace})
    call = to.server.call
    model = "model" if to.kind.kind == "gemini" else "assistant"
    assert call.parts == ["image", "text"]
    assert call.turns == [(model, '{"a": 1}'), ("user", "a must be text"), (model, "{}"), ("user", "b")]
    assert call.headers["traceparent"] == trace


async def test_the_bytes_before_the_prompt_are_the_same_for_every_perspective(to: Target) -> None:
    """Prefix caches read an image once only if nothing before it changes (measured with vLLM and llama-server)."""
    beginnings = set()
    for prompt, schema in (("First.", PLAIN), ("Second one.", RICH)):
        await to.complete(prompt=prompt, schema=schema, system="Be brief.")
        body = json.loads(to.server.calls[-1].raw)
        messages = json.dumps(body.get("messages", [body.get("contents"), body.get("systemInstruction")]))
        beginnings.add(messages.partition(prompt)[0])
    assert len(beginnings) == 1


async def test_connections_are_reused_but_not_for_listing_models(to: Target) -> None:
    """A probe over a pooled connection fails when the server has closed it."""
    for streamed in (False, True, False, True):
        await to.ask(streamed)
    assert to.server.connections == 1
    if to.kind.lists_models:
        await to.client.models(to.request().credentials, 5)
        assert to.server.connections == 2


async def test_concurrent_calls_do_not_mix(to: Target, streamed: bool) -> None:
    texts = [f"Image number {number} shows {UNICODE}" for number in range(8)]
    to.server.reply(*(b.Drip(0.001, 256, b.Answer(text)) for text in texts))
    received: list[str] = []

    async def ask() -> None:
        received.append((await to.ask(streamed)).text)

    async with anyio.create_task_group() as group:
        for _ in texts:
            group.start_soon(ask)
    assert sorted(received) == sorted(texts)
