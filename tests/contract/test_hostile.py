"""Servers that misbehave on the wire: every call ends in an error, in time and within bounds."""

import ssl
from collections.abc import AsyncIterator

import anyio
import pytest

from providers import errors
from providers.base import Delta, ProviderConfig
from providers.pool import Pool
from providers.registry import client
from tests.contract.kinds import Kind
from tests.contract.target import Target, target
from tests.servers import RecordingServer, WireServer, tls
from tests.servers import behaviours as b

SHORT = 1.0
LIMIT = 2 * 1024 * 1024


@pytest.mark.slow
async def test_a_server_that_takes_too_long(to: Target, streamed: bool) -> None:
    """A drip makes progress with every read: only a limit on the whole call ends it."""
    slow = [b.Hang("connect"), b.Hang("headers"), b.Hang("first"), b.Drip(interval=0.05, size=2)]
    to.server.reply(*slow)

    async def fail() -> None:
        assert type(await to.failure(streamed, timeout=SHORT)) is errors.CallTimeout

    async with anyio.create_task_group() as group:
        for _ in slow:
            group.start_soon(fail)
    await anyio.to_thread.run_sync(to.server.wait_for_hang_ups, len(slow))


async def test_a_cancelled_call_closes_the_connection(to: Target, streamed: bool) -> None:
    to.server.reply(b.Hang("first"))
    async with anyio.create_task_group() as group:
        group.start_soon(to.ask, streamed)
        await anyio.to_thread.run_sync(to.server.wait_for_calls, 1)
        group.cancel_scope.cancel()
    await anyio.to_thread.run_sync(to.server.wait_for_hang_ups)


async def test_a_stream_that_is_left_early_closes_the_connection(to: Target) -> None:
    to.server.reply(b.Hang("first"))
    stream = to.client.stream(to.request())
    assert isinstance(await anext(stream), Delta)
    await stream.aclose()
    await anyio.to_thread.run_sync(to.server.wait_for_hang_ups)


async def test_a_hundred_megabytes(kind: Kind, server: WireServer, narrow: Pool, streamed: bool) -> None:
    server.reply(b.Huge())
    assert type(await target(kind, server, narrow).failure(streamed)) is errors.BadReply
    assert server.bytes_sent < 4 * LIMIT + 8 * 1024 * 1024  # the rest was in the sockets' buffers


@pytest.fixture(scope="module")
async def narrow(anyio_backend: str) -> AsyncIterator[Pool]:
    pool = Pool(max_reply_bytes=LIMIT)
    yield pool
    await pool.aclose()


async def test_a_gzip_bomb_is_an_error_at_once(to: Target, streamed: bool) -> None:
    """Issue 10, row 16: the check of the header ends the call before anything is decompressed."""
    to.server.reply(b.Compressed())
    error = await to.failure(streamed, timeout=60)
    assert (type(error), "compressed response" in error.message) == (errors.BadReply, True)
    assert to.server.call.headers["accept-encoding"] == "identity"


async def test_bytes_that_are_not_text(to: Target, streamed: bool) -> None:
    to.server.reply(b.InvalidUtf8(rb"\ud83d"), b.InvalidUtf8(rb"\ud83d!"), b.InvalidUtf8())
    assert (await to.ask(streamed)).text.startswith("caf")
    assert (await to.ask(streamed)).text == "caf\ufffd!"
    try:
        completion = await to.ask(streamed)
    except errors.BadReply:
        return
    assert completion.text.startswith("caf")
    completion.text.encode()  # no half characters


async def test_a_redirect_is_not_followed(to: Target, streamed: bool, trap: RecordingServer) -> None:
    to.server.reply(b.Redirect(trap.url + "/elsewhere"))
    assert type(await to.failure(streamed)) is errors.WrongPath
    assert trap.not_called


async def test_no_server(kind: Kind, to: Target, pool: Pool, streamed: bool, self_signed: ssl.SSLContext) -> None:
    with kind.server() as stopped:
        gone = target(kind, stopped, pool)
    hidden = Pool(tells_addresses=False)
    unknown = Target(kind, stopped, client(ProviderConfig("x", kind.kind, "http://nonexistent.invalid/v1"), pool))
    title = gone.client.spec.title
    with kind.server(tls=self_signed) as untrusted:
        for failing, sentence in (
            (gone, f" at {stopped.origin}: the connection was refused."),
            (target(kind, stopped, hidden), f"Could not connect to {title}: the connection was refused."),
            (unknown, " at http://nonexistent.invalid: the host name is unknown."),
            (target(kind, to.server, pool, base_url=to.server.url.replace("http:", "https:")), ": TLS failed."),
            (target(kind, untrusted, pool), f" at {untrusted.origin}: its TLS certificate is not trusted."),
        ):
            error = await failing.failure(streamed)
            assert type(error) is errors.Unreachable
            assert sentence in error.message
        assert not [*untrusted.requests, *to.server.requests]
    await hidden.aclose()


async def test_the_name_of_a_model_does_not_change_the_path(to: Target) -> None:
    """Gemini's model is part of the path."""
    for model in ("../../secret", "a?b=c", "a#b", "a:countTokens?x=", "models/../x", "x%2e", " ", "a\r\nb", "é"):
        if to.kind.knows_models:
            assert type(await to.failure(model=model)) in (errors.UnknownModel, errors.RequestRejected)
    for call in to.server.calls:
        assert call.path.endswith(("/chat/completions", "/api/chat", ":generateContent", "/v1/messages"))
        assert not call.query


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return tls.self_signed(tmp_path_factory.mktemp("tls"))
