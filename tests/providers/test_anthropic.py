"""The Anthropic client: what the contract suite does not show of every client."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from providers import errors
from providers.anthropic import AnthropicClient
from providers.base import Completion, Credentials, Delta, Options, ProviderConfig, VisionRequest
from providers.pool import Pool
from providers.usage import Usage
from tests.providers.calls import make_request, send, stream
from tests.servers import AnthropicServer, TrapServer
from tests.servers import behaviours as b
from tests.servers.anthropic import KEY, event_stream

LEAK = "leak-of-the-environment"
ENVIRONMENT = {
    **dict.fromkeys(("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_WEBHOOK_SIGNING_KEY"), LEAK),
    **dict.fromkeys(("ANTHROPIC_IDENTITY_TOKEN", "ANTHROPIC_FEDERATION_RULE_ID", "ANTHROPIC_ORGANIZATION_ID"), LEAK),
    "ANTHROPIC_BASE_URL": f"http://{LEAK}.invalid",
    "ANTHROPIC_CUSTOM_HEADERS": f"X-Custom: {LEAK}\nauthorization: Bearer {LEAK}\nanthropic-version: {LEAK}",
}
HEADERS = {
    *("host", "connection", "accept-encoding", "accept", "content-type", "content-length", "user-agent"),
    *("authorization", "anthropic-version"),
}
STREAMED = pytest.mark.parametrize("streamed", [False, True])
ANSWER = '{"seen": "a pier", "boats": 2}'
START = {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 9, "output_tokens": 1}}}
TEXT = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "A boat."}}
STOP = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}}


@pytest.fixture
def server() -> Iterator[AnthropicServer]:
    with AnthropicServer() as server:
        yield server


def client(pool: Pool, url: str, **options: Any) -> AnthropicClient:
    return AnthropicClient(ProviderConfig("anthropic", "anthropic", url, options=options), pool)


def request(**changes: Any) -> VisionRequest:
    return make_request("claude-haiku-5-5", **{"credentials": Credentials(KEY), **changes})


def events(*parts: Any) -> b.Status:
    body = b"".join(event_stream(parts).chunks)
    return b.Status(200, {"content-type": "text/event-stream"}, body)


def message(**fields: Any) -> b.Status:
    content = [{"type": "text", "text": "A boat."}]
    body = {"type": "message", "content": content, "stop_reason": "end_turn", **fields}
    return b.Status(200, {"content-type": "application/json"}, json.dumps(body).encode())


@pytest.mark.parametrize("key", ["", "sk-own"])
async def test_the_environment_is_not_used(
    pool: Pool, trap: TrapServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str
) -> None:
    """Nor are the profiles that the SDK reads from files."""
    (tmp_path / "configs").mkdir()
    profile = {"authentication": {"type": "user_oauth"}, "base_url": f"http://{LEAK}.invalid"}
    (tmp_path / "configs" / "default.json").write_text(json.dumps(profile))
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    anthropic, sent = client(pool, trap.url), request(credentials=Credentials(key))
    for call in (anthropic.complete(sent), stream(anthropic, sent), anthropic.models(Credentials(key), 60)):
        with pytest.raises(errors.ProviderError):
            await call
    assert len(trap.requests) == 3
    assert not trap.carries(LEAK)
    for seen in trap.requests:
        assert set(seen.headers) <= HEADERS  # no header of the environment or of the SDK
        assert seen.headers.get("authorization") == (f"Bearer {key}" if key else None)
        assert seen.headers["anthropic-version"] == "2026-10-21"


async def test_configured_options_are_sent(pool: Pool, server: AnthropicServer) -> None:
    options = {"effort": "LOW", "thinking": "disabled", "extra_body": {"service_tier": "standard_only"}}
    await client(pool, server.url, **options).complete(request())
    body = server.call.body
    assert (body["output_config"]["effort"], body["thinking"]) == ("low", {"type": "disabled"})
    assert body["output_config"]["format"]["type"] == "json_schema"
    assert body["service_tier"] == "standard_only"


async def test_the_protocol_requires_max_tokens(pool: Pool, server: AnthropicServer) -> None:
    for limit in (None, 321):
        await client(pool, server.url).complete(request(options=Options(max_tokens=limit)))
    assert [call.options["max_tokens"] for call in server.calls] == [16_384, 321]


async def test_a_tool_takes_the_answer_in_the_third_output_mode(pool: Pool, server: AnthropicServer) -> None:
    server.reply(b.Answer(ANSWER), b.Answer(ANSWER))
    sent = request(output_mode="json_object", schema_name="scene graph")
    whole = await client(pool, server.url).complete(sent)
    *deltas, streamed = [chunk async for chunk in client(pool, server.url).stream(sent)]
    assert isinstance(streamed, Completion)
    assert json.loads(whole.text) == json.loads(streamed.text) == json.loads(ANSWER)
    assert "".join(delta.text for delta in deltas if isinstance(delta, Delta)) == streamed.text
    assert server.calls[0].body["tools"][0]["name"] == "scene_graph"
    assert server.calls[0].body["tools"][0]["input_schema"] == sent.schema


async def test_a_model_that_thinks_cannot_be_made_to_call_a_tool(pool: Pool, server: AnthropicServer) -> None:
    """can1357/oh-my-pi#341: the next output mode avoids it."""
    with pytest.raises(errors.SchemaRejected) as caught:
        await client(pool, server.url, thinking="adaptive").complete(request(output_mode="json_object"))
    assert caught.value.explained


@STREAMED
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
    pool: Pool, server: AnthropicServer, reason: str, expected: type[errors.ProviderError] | None, streamed: bool
) -> None:
    usage = {"input_tokens": 9, "output_tokens": 4}
    stop = {**STOP, "delta": {"stop_reason": reason}}
    server.reply(events(START, TEXT, stop) if streamed else message(stop_reason=reason, usage=usage))
    call = send(client(pool, server.url), request(), streamed)
    if expected is None:
        assert (await call).text == "A boat."
        return
    with pytest.raises(expected) as caught:
        await call
    assert caught.value.usage == Usage(9, 4)


@STREAMED
async def test_tokens_written_to_the_cache_are_input(pool: Pool, server: AnthropicServer, streamed: bool) -> None:
    """`input_tokens` excludes what was read from the cache or written to it."""
    usage = {"input_tokens": 10, "cache_creation_input_tokens": 200, "cache_read_input_tokens": 3000}
    start = {"type": "message_start", "message": {"usage": {**usage, "output_tokens": 1}}}
    server.reply(events(start, TEXT, STOP) if streamed else message(usage={**usage, "output_tokens": 4}))
    completion = await send(client(pool, server.url), request(), streamed)
    assert completion.usage == Usage(3210, 4, 3000)


@pytest.mark.parametrize(
    ("mode", "shared", "marked"),
    [
        ("prompt", True, True),
        ("prompt", False, False),
        ("json_schema", True, False),  # the schema comes before the image, so that no other perspective finds it
        ("json_object", True, False),
    ],
)
async def test_a_shared_image_is_cached_where_it_can_be_found_again(
    pool: Pool, server: AnthropicServer, mode: Any, shared: bool, marked: bool
) -> None:
    await client(pool, server.url).complete(request(output_mode=mode, image_is_shared=shared))
    block = server.call.body["messages"][0]["content"][0]
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
    pool: Pool, server: AnthropicServer, error: Any, expected: type[errors.ProviderError]
) -> None:
    fault = {"type": "error", "error": error}
    server.reply(b.Status(200, {"content-type": "application/json"}, json.dumps(fault).encode()), events(fault))
    for streamed in (False, True):
        with pytest.raises(errors.ProviderError) as caught:
            await send(client(pool, server.url), request(), streamed)
        assert type(caught.value) is expected
