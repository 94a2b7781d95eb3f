"""Servers that misbehave on the wire: every end is an error of ours, in time and within bounds."""

import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator

import anyio
import pytest

from providers import errors
from providers.base import Credentials, Delta, ProviderConfig
from providers.pool import Pool
from providers.registry import client
from tests.contract.kinds import OF_KIND, Kind
from tests.contract.target import Target, target
from tests.servers import TrapServer, WireServer, tls
from tests.servers import behaviours as b

SHORT = 1.0
LATE = 5.0  # the machine is shared; the drip alone would take longer
LIMIT = 2 * 1024 * 1024


@pytest.mark.slow
async def test_server_that_takes_too_long(to: Target, streamed: bool) -> None:
    """A drip makes progress with every read: only a limit on the whole call ends it."""
    slow = [b.Hang("connect"), b.Hang("headers"), b.Hang("first"), b.Drip(interval=0.05, size=2)]
    to.server.reply(*slow)
    started = anyio.current_time()

    async def fail() -> None:
        assert type(await to.failure(streamed, timeout=SHORT)) is errors.CallTimeout
        assert anyio.current_time() - started < SHORT + LATE

    async with anyio.create_task_group() as group:
        for _ in slow:
            group.start_soon(fail)
    await anyio.to_thread.run_sync(to.server.wait_for_hang_ups, len(slow))


async def test_cancelled_call_closes_the_connection(to: Target, streamed: bool) -> None:
    to.server.reply(b.Hang("first"))
    async with anyio.create_task_group() as group:
        group.start_soon(to.ask, streamed)
        await anyio.to_thread.run_sync(to.server.wait_for_calls, 1)
        group.cancel_scope.cancel()
    await anyio.to_thread.run_sync(to.server.wait_for_hang_ups)


async def test_reader_that_has_seen_enough_closes_the_connection(to: Target) -> None:
    to.server.reply(b.Hang("first"))
    stream = to.client.stream(to.request())
    assert isinstance(stream, AsyncGenerator)
    with anyio.fail_after(5):
        assert isinstance(await anext(stream), Delta)
        await stream.aclose()
    await anyio.to_thread.run_sync(to.server.wait_for_hang_ups)


@pytest.mark.parametrize("timeout", [0.0, -1.0, 1e-6])
async def test_no_time_left(to: Target, streamed: bool, timeout: float) -> None:
    assert type(await to.failure(streamed, timeout=timeout)) in (errors.CallTimeout, errors.Unreachable)


@pytest.mark.parametrize("one_line", [False, True], ids=["many events", "one line"])
async def test_hundred_megabytes(kind: Kind, server: WireServer, narrow: Pool, streamed: bool, one_line: bool) -> None:
    server.reply(b.Huge(one_line=one_line))
    assert type(await target(kind, server, narrow).failure(streamed)) is errors.BadReply
    assert server.bytes_sent < 4 * LIMIT + 8 * 1024 * 1024  # the rest lay in the sockets' buffers


@pytest.mark.parametrize("name", ["vllm", "ollama", "gemini", "anthropic"])
async def test_hundred_megabytes_without_a_limit_of_our_own(name: str, pool: Pool) -> None:
    with OF_KIND[name].server() as server:
        server.reply(b.Huge())
        assert type(await target(OF_KIND[name], server, pool).failure()) is errors.BadReply
        assert server.bytes_sent < 40 * 1024 * 1024


@pytest.fixture(scope="module")
async def narrow(anyio_backend: str) -> AsyncIterator[Pool]:
    pool = Pool(max_reply_bytes=LIMIT)
    yield pool
    await pool.aclose()


async def test_compressed_bomb(to: Target, streamed: bool) -> None:
    to.server.reply(b.Compressed())
    assert type(await to.failure(streamed)) is errors.BadReply
    assert to.server.call.headers["accept-encoding"] == "identity"


async def test_bytes_that_are_no_text(to: Target, streamed: bool) -> None:
    to.server.reply(b.InvalidUtf8())
    try:
        completion = await to.ask(streamed)
    except errors.BadReply:
        return
    assert completion.text.startswith("caf")
    completion.text.encode()  # no half characters travel on


async def test_half_a_character(to: Target, streamed: bool) -> None:
    to.server.reply(b.InvalidUtf8(rb"\ud83d"))
    assert (await to.ask(streamed)).text.startswith("caf")
    to.server.reply(b.InvalidUtf8(rb"\ud83d!"))
    assert (await to.ask(streamed)).text == "caf\ufffd!"


async def test_redirect_is_not_followed(to: Target, streamed: bool, trap: TrapServer) -> None:
    to.server.reply(b.Redirect(trap.url + "/elsewhere"))
    assert type(await to.failure(streamed)) is errors.WrongPath
    assert trap.untouched


async def test_reset(to: Target, streamed: bool) -> None:
    to.server.reply(b.Reset())
    assert type(await to.failure(streamed)) is errors.Unreachable


async def test_nobody_listens(kind: Kind, pool: Pool, streamed: bool) -> None:
    with kind.server() as server:
        gone = target(kind, server, pool)
    error = await gone.failure(streamed)
    assert type(error) is errors.Unreachable
    assert f" at {server.origin}: the connection was refused." in error.message


async def test_an_address_that_nobody_is_to_know(kind: Kind, streamed: bool) -> None:
    silent = Pool(tells_addresses=False)
    with kind.server() as server:
        gone = target(kind, server, silent)
    error = await gone.failure(streamed)
    await silent.aclose()
    assert error.message.startswith(f"Could not connect to {gone.client.spec.title}: the connection was refused.")


async def test_name_that_does_not_resolve(kind: Kind, to: Target, pool: Pool, streamed: bool) -> None:
    lost = Target(kind, to.server, client(ProviderConfig(kind.kind, kind.kind, "http://nonexistent.invalid/v1"), pool))
    error = await lost.failure(streamed)
    assert type(error) is errors.Unreachable
    assert " at http://nonexistent.invalid: the host name is unknown." in error.message


async def test_https_to_a_server_without_tls(kind: Kind, to: Target, pool: Pool, streamed: bool) -> None:
    secure = target(kind, to.server, pool, base_url=to.server.url.replace("http:", "https:"))
    error = await secure.failure(streamed)
    assert type(error) is errors.Unreachable
    assert ": TLS failed." in error.message
    assert not to.server.requests


async def test_certificate_that_nobody_signed(
    kind: Kind, pool: Pool, streamed: bool, self_signed: ssl.SSLContext
) -> None:
    with kind.server(tls=self_signed) as server:
        error = await target(kind, server, pool).failure(streamed)
        assert type(error) is errors.Unreachable
        assert f" at {server.origin}: its TLS certificate is not trusted." in error.message
        assert not server.requests


@pytest.mark.parametrize(
    "model", ["../../secret", "a?b=c", "a#b", "a:countTokens?x=", "models/../x", " ", "a\r\nb", "é"]
)
async def test_name_of_a_model_leads_nowhere_else(to: Target, model: str) -> None:
    """Gemini's model stands in the path."""
    if to.kind.knows_models:
        error = await to.failure(model=model)
        assert type(error) in (errors.UnknownModel, errors.RequestRejected)
    for call in to.server.calls:
        assert call.path.endswith(("/chat/completions", "/api/chat", ":generateContent", "/v1/messages"))
        assert not call.query


async def test_server_that_accepts_and_says_nothing_to_models(to: Target, silent: str, pool: Pool) -> None:
    quiet = target(to.kind, to.server, pool, base_url=silent)
    with pytest.raises(errors.CallTimeout):
        await quiet.client.models(Credentials(to.server.key), 0.1)


@pytest.fixture
def silent() -> Iterator[str]:
    """A socket that takes connections and never reads."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return tls.self_signed(tmp_path_factory.mktemp("tls"))
