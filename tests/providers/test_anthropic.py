"""The Anthropic client: behaviour that is not part of the contract of all clients."""

import json
from typing import Any

import pytest

from providers import errors
from providers.base import Completion, Delta, Options, Usage
from providers.pool import Pool
from tests.contract.kinds import KIND_BY_NAME, only
from tests.contract.schemas import PLAIN
from tests.contract.target import Target, make_target
from tests.servers import WireServer
from tests.servers import behaviours as b
from tests.servers.anthropic import event_stream

pytestmark = only("anthropic")
ANSWER = '{"caption": "a pier"}'
START = {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 9, "output_tokens": 1}}}
TEXT = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "A boat."}}
STOP = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}}


def events(*parts: Any) -> b.Raw:
    return b.Raw(event_stream(parts).body, "text/event-stream")


def message(**fields: Any) -> b.Raw:
    content = [{"type": "text", "text": "A boat."}]
    body = {"type": "message", "content": content, "stop_reason": "end_turn", **fields}
    return b.Raw(json.dumps(body).encode())


async def test_configured_options_are_sent(pool: Pool, server: WireServer) -> None:
    options = {"effort": "LOW", "thinking": "disabled", "extra_body": {"service_tier": "standard_only"}}
    await make_target(KIND_BY_NAME["anthropic"], server, pool, options=options).complete(schema=PLAIN)
    body = server.call.body
    assert (body["output_config"]["effort"], body["thinking"]) == ("low", {"type": "disabled"})
    assert body["output_config"]["format"]["type"] == "json_schema"
    assert body["service_tier"] == "standard_only"


async def test_the_protocol_requires_max_tokens(target: Target) -> None:
    for limit in (None, 321):
        await target.complete(options=Options(max_tokens=limit))
    assert [call.options["max_tokens"] for call in target.server.calls] == [16_384, 321]


async def test_the_third_output_mode_uses_a_tool(target: Target) -> None:
    target.server.reply(b.Answer(ANSWER), b.Answer(ANSWER))
    sent: dict[str, Any] = {"schema": PLAIN, "output_mode": "json_object", "schema_name": "scene graph"}
    complete = await target.complete(**sent)
    *deltas, streamed = await target.stream(**sent)
    assert isinstance(streamed, Completion)
    assert json.loads(complete.text) == json.loads(streamed.text) == json.loads(ANSWER)
    assert "".join(delta.text for delta in deltas if isinstance(delta, Delta)) == streamed.text
    (tool,) = target.server.calls[0].body["tools"]
    assert (tool["name"], tool["input_schema"]) == ("scene_graph", PLAIN)


async def test_a_reasoning_model_cannot_be_forced_to_call_a_tool(pool: Pool, server: WireServer) -> None:
    """can1357/oh-my-pi#341: the next output mode avoids it."""
    thinking = make_target(KIND_BY_NAME["anthropic"], server, pool, options={"thinking": "adaptive"})
    error = await thinking.failure(schema=PLAIN, output_mode="json_object")
    assert isinstance(error, errors.SchemaRejected)
    assert error.explained


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("a new reason", None),
        ("refusal", errors.Refused),
        ("max_tokens", errors.Truncated),
        ("model_context_window_exceeded", errors.Truncated),
        ("pause_turn", errors.BadReply),
    ],
)
async def test_stop_reasons(
    target: Target, reason: str, expected: type[errors.ProviderError] | None, streamed: bool
) -> None:
    usage = {"input_tokens": 9, "output_tokens": 4}
    stop = {**STOP, "delta": {"stop_reason": reason}}
    target.server.reply(events(START, TEXT, stop) if streamed else message(stop_reason=reason, usage=usage))
    if expected is None:
        assert (await target.ask(streamed)).text == "A boat."
        return
    error = await target.failure(streamed)
    assert (type(error), error.usage) == (expected, Usage(9, 4))


async def test_tokens_written_to_the_cache_are_input(target: Target, streamed: bool) -> None:
    """`input_tokens` excludes tokens that were read from or written to the cache."""
    usage = {"input_tokens": 10, "cache_creation_input_tokens": 200, "cache_read_input_tokens": 3000}
    start = {"type": "message_start", "message": {"usage": {**usage, "output_tokens": 1}}}
    target.server.reply(events(start, TEXT, STOP) if streamed else message(usage={**usage, "output_tokens": 4}))
    assert (await target.ask(streamed)).usage == Usage(3210, 4, 3000)


@pytest.mark.parametrize(
    ("mode", "shared", "marked"),
    [
        ("prompt", True, True),
        ("prompt", False, False),
        ("json_schema", True, False),  # the schema precedes the image, so the entry cannot be shared
        ("json_object", True, False),
    ],
)
async def test_a_shared_image_is_cached_only_where_it_can_be_reused(
    target: Target, mode: str, shared: bool, marked: bool
) -> None:
    await target.complete(schema=PLAIN, output_mode=mode, image_is_shared=shared)
    block = target.server.call.body["messages"][0]["content"][0]
    assert block.get("cache_control") == ({"type": "ephemeral"} if marked else None)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"type": "overloaded_error", "message": "Overloaded"}, errors.Unavailable),
        ({"type": "rate_limit_error", "message": "m"}, errors.RateLimited),
        ({"type": "not_found_error", "message": "model: x"}, errors.UnknownModel),
        (
            {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8 maximum"},
            errors.ContextTooLong,
        ),
        ("text", errors.BadReply),
    ],
)
async def test_an_error_inside_a_200_is_classified_by_its_type(
    target: Target, error: Any, expected: type[errors.ProviderError], streamed: bool
) -> None:
    fault = {"type": "error", "error": error}
    target.server.reply(events(fault) if streamed else b.Raw(json.dumps(fault).encode()))
    assert type(await target.failure(streamed)) is expected
