"""Misbehaving servers: every call ends with an error, within its limits of time and size."""

import ssl

import anyio
import pytest

from providers import errors, transport
from providers.base import Delta, ProviderConfig
from providers.pool import Pool
from providers.registry import client
from tests.contract.kinds import Kind
from tests.contract.target import Target, make_target
from tests.servers import RecordingServer, tls
from tests.servers import behaviours as b

SHORT = 1.0
LIMIT = 2 * 1024 * 1024


@pytest.mark.slow
async def test_a_server_that_takes_too_long(target: Target, streamed: bool) -> None:
    """With `Drip`, every read makes progress, so only the timeout of the call ends it."""
    slow = [b.Hang("connect"), b.Hang("headers"), b.Hang("first"), b.Drip(interval=0.05, size=2)]
    target.server.reply(*slow)

    async def fail() -> None:
        assert type(await target.failure(streamed, timeout=SHORT)) is errors.CallTimeout

    async with anyio.create_task_group() as group:
        for _ in slow:
            group.start_soon(fail)
    await anyio.to_thread.run_sync(target.server.wait_for_hang_ups, len(slow))


async def test_a_cancelled_call_closes_the_connection(target: Target, streamed: bool) -> None:
    target.server.reply(b.Hang("first"))
    async with anyio.create_task_group() as group:
        group.start_soon(target.ask, streamed)
        await anyio.to_thread.run_sync(target.server.wait_for_calls, 1)
        group.cancel_scope.cancel()
    await anyio.to_thread.run_sync(target.server.wait_for_hang_ups)


async def test_closing_a_stream_early_closes_the_connection(target: Target) -> None:
    target.server.reply(b.Hang("first"))
    stream = target.client.stream(target.request())
    assert isinstance(await anext(stream), Delta)
    await stream.aclose()
    await anyio.to_thread.run_sync(target.server.wait_for_hang_ups)


async def test_a_response_over_the_size_limit_is_rejected(
    target: Target, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_REPLY_BYTES", LIMIT)
    target.server.reply(b.Huge())
    assert type(await target.failure(streamed)) is errors.BadReply
    assert target.server.bytes_sent < 4 * LIMIT + 8 * 1024 * 1024  # the rest was in socket buffers


async def test_a_compressed_response_is_rejected_before_decompression(target: Target, streamed: bool) -> None:
    """The check of the header ends the call before anything is decompressed."""
    target.server.reply(b.Compressed())
    error = await target.failure(streamed, timeout=60)
    assert (type(error), "compressed response" in error.message) == (errors.BadReply, True)
    assert target.server.call.headers["accept-encoding"] == "identity"


async def test_invalid_utf8_in_an_answer(target: Target, streamed: bool) -> None:
    target.server.reply(b.InvalidUtf8(rb"\ud83d"), b.InvalidUtf8(rb"\ud83d!"), b.InvalidUtf8())
    assert (await target.ask(streamed)).text.startswith("caf")
    assert (await target.ask(streamed)).text == "caf\ufffd!"
    try:
        completion = await target.ask(streamed)
    except errors.BadReply:
        return
    assert completion.text.startswith("caf")
    completion.text.encode()  # no unpaired surrogates


async def test_a_redirect_is_not_followed(target: Target, streamed: bool, recording_server: RecordingServer) -> None:
    target.server.reply(b.Redirect(recording_server.url + "/elsewhere"))
    assert type(await target.failure(streamed)) is errors.WrongPath
    assert recording_server.not_called


async def test_unreachable_servers(
    kind: Kind, target: Target, pool: Pool, streamed: bool, self_signed: ssl.SSLContext
) -> None:
    with kind.server() as stopped:
        closed = make_target(kind, stopped, pool)
    hidden = Pool(tells_addresses=False)
    unknown = Target(kind, stopped, client(ProviderConfig("x", kind.kind, "http://nonexistent.invalid/v1"), pool))
    title = closed.client.spec.title
    with kind.server(tls=self_signed) as untrusted:
        for failing, sentence in (
            (closed, f" at {stopped.origin}: the connection was refused."),
            (make_target(kind, stopped, hidden), f"Could not connect to {title}: the connection was refused."),
            (unknown, " at http://nonexistent.invalid: the host name is unknown."),
            (
                make_target(kind, target.server, pool, base_url=target.server.url.replace("http:", "https:")),
                ": TLS failed.",
            ),
            (make_target(kind, untrusted, pool), f" at {untrusted.origin}: its TLS certificate is not trusted."),
        ):
            error = await failing.failure(streamed)
            assert type(error) is errors.Unreachable
            assert sentence in error.message
        assert not [*untrusted.requests, *target.server.requests]
    await hidden.aclose()


async def test_a_model_name_cannot_change_the_path(target: Target) -> None:
    """In Gemini's API, the model is part of the path."""
    for model in ("../../secret", "a?b=c", "a#b", "a:countTokens?x=", "models/../x", "x%2e", " ", "a\r\nb", "é"):
        if target.kind.knows_models:
            assert type(await target.failure(model=model)) in (errors.UnknownModel, errors.RequestRejected)
    for call in target.server.calls:
        assert call.path.endswith(("/chat/completions", "/api/chat", ":generateContent", "/v1/messages"))
        assert not call.query


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return tls.self_signed(tmp_path_factory.mktemp("tls"))
