"""The requests that every client sends, and the completions that it returns."""

import json
from dataclasses import replace
from hashlib import sha256
from typing import Any, get_args

import pytest

from providers.base import LADDER, Completion, Delta, OutputMode, Turn, Usage
from tests.contract.kinds import EVERY_KIND
from tests.contract.schemas import PLAIN, RICH
from tests.contract.target import EVERYTHING, PHOTO, Target
from tests.images.samples import decoded, saved
from tests.servers import SENTENCE
from tests.servers import behaviours as b

UNICODE = "Ein Boot 🛶 im Hafen — „schön“, 雨の夜, \u202everkehrt\u202c"


@EVERY_KIND
async def test_text_model_and_usage(target: Target, streamed: bool) -> None:
    completion = await target.ask(streamed)
    usage = Usage(120, 30, 64 if target.kind.caches else None)
    assert completion == Completion(SENTENCE, target.server.models[0], usage)


@EVERY_KIND
async def test_options_that_a_provider_does_not_accept_are_named(target: Target, streamed: bool) -> None:
    warnings = " ".join((await target.ask(streamed, options=EVERYTHING)).warnings)
    assert {name for name in EVERYTHING.present() if name not in warnings} == set(target.kind.options)


async def test_deltas_add_up_to_the_text_and_the_completion_is_last(target: Target) -> None:
    target.server.reply(b.Answer(UNICODE, pieces=9))
    *deltas, completion = await target.stream()
    assert isinstance(completion, Completion)
    assert len(deltas) > 1
    assert "".join(delta.text for delta in deltas if isinstance(delta, Delta)) == completion.text == UNICODE


async def test_a_response_may_be_split_between_any_two_bytes(target: Target, streamed: bool) -> None:
    target.server.reply(b.Drip(0, 1, b.Answer(UNICODE[:20], pieces=2)))
    assert (await target.ask(streamed)).text == UNICODE[:20]


async def test_reasoning_is_not_part_of_the_text(target: Target, streamed: bool) -> None:
    target.server.reply(b.Answer("A boat.", thinking="Let me look at this."))
    assert (await target.ask(streamed)).text == "A boat."


@pytest.mark.parametrize("how", get_args(b.Events.__annotations__["how"]))
async def test_unusual_but_complete_streams(target: Target, how: Any) -> None:
    """Proxies repeat and pad events."""
    if target.kind.kind == "gemini" and how == "the last again":
        pytest.skip("the last event contains text, so repeating it repeats the text")
    if target.kind.kind in ("ollama", "gemini") and how == "with blanks":
        pytest.skip("the SDK parses every line as JSON; these servers send no comments")
    target.server.reply(b.Events(how))
    assert (await target.ask(True)).text == SENTENCE


@EVERY_KIND
@pytest.mark.parametrize("mode", LADDER)
@pytest.mark.parametrize(("schema", "streamed"), [(PLAIN, True), (RICH, False)], ids=["plain", "rich"])
async def test_the_server_accepts_the_schema_in_every_mode(
    target: Target, streamed: bool, mode: OutputMode, schema: dict[str, Any]
) -> None:
    if mode == "json_object" and not target.kind.json_object:
        pytest.skip("the server has no json_object")
    completion = await target.ask(streamed, schema=schema, output_mode=mode)
    call = target.server.call
    expected = {"json_schema_relaxed": "json_schema", "prompt": "text"}.get(mode, mode)
    assert call.mode == expected
    if expected == "json_schema":
        assert list(call.schema["properties"]) == list(schema["properties"])  # models write in this order
        assert "caption" in call.schema["required"]
    else:
        shown = "".join([*call.texts, json.dumps(call.schema, separators=(",", ":"))])
        assert json.dumps(schema["properties"]["caption"], separators=(",", ":")) in shown
    if target.server.models and target.kind.constrains:
        assert "caption" in json.loads(completion.text)


@EVERY_KIND
async def test_the_schema_is_in_the_prompt_if_the_server_uses_it_only_as_a_grammar(target: Target) -> None:
    """A grammar is not part of the prompt: vllm-project/vllm#31804, ggml-org/llama.cpp#18492, ollama/ollama#8162."""
    await target.complete(schema=RICH)
    prompt = target.server.call.prompt
    if target.kind.kind in ("openai", "gemini", "anthropic"):
        assert prompt == "Describe the picture."
    else:
        assert prompt.startswith("Describe the picture.")
        assert json.dumps(target.server.call.schema, separators=(",", ":")) in prompt


async def test_an_image_is_sent_unchanged_before_the_prompt(target: Target, streamed: bool) -> None:
    png = saved(decoded(PHOTO.data), "PNG")
    await target.ask(streamed, system="Answer in British English.")
    await target.ask(streamed, image=replace(PHOTO, data=png, media_type="image/png"), system=" \n")
    jpeg, png_call = target.server.calls
    assert jpeg.image is not None
    assert jpeg.image.sha256 == sha256(PHOTO.data).hexdigest()
    assert (jpeg.parts, len(jpeg.images), jpeg.prompt) == (["image", "text"], 1, "Describe the picture.")
    assert (jpeg.system, jpeg.mode, jpeg.schema) == ("Answer in British English.", "text", None)
    assert png_call.image is not None
    assert (png_call.image.format, png_call.image.media_type) in (("PNG", "image/png"), ("PNG", ""))
    assert not {"system", "systemInstruction"} & set(json.loads(png_call.raw.decode()))
    assert '"system"' not in png_call.raw.decode()


async def test_turns_follow_the_image_in_order(target: Target, streamed: bool) -> None:
    turns = (Turn("assistant", '{"a": 1}'), Turn("user", "a must be text"), Turn("assistant", "{}"), Turn("user", "b"))
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await target.ask(streamed, turns=turns, system="Be brief.", headers={"traceparent": trace})
    call = target.server.call
    model = "model" if target.kind.kind == "gemini" else "assistant"
    assert call.parts == ["image", "text"]
    assert call.turns == [(model, '{"a": 1}'), ("user", "a must be text"), (model, "{}"), ("user", "b")]
    assert call.headers["traceparent"] == trace


async def test_connections_are_reused_but_not_for_listing_models(target: Target) -> None:
    """A probe over a pooled connection fails when the server has closed it."""
    for streamed in (False, True, False, True):
        await target.ask(streamed)
    assert target.server.connections == 1
    if target.kind.lists_models:
        await target.client.models(target.request().credentials, 60)
        assert target.server.connections == 2
