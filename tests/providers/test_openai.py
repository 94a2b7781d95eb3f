"""The client on the openai package: what the contract suite does not show of every client."""

import asyncio

import pytest

from providers import errors
from providers.base import Completion, Credentials, ProviderConfig
from providers.hints import Allowance
from providers.openai import OpenAIClient
from providers.pool import Pool
from tests.providers.calls import make_request, send, stream
from tests.servers import OpenAIServer, TrapServer
from tests.servers import behaviours as b
from tests.servers.limited import LimitedServer

LEAK = "leak-of-the-environment"
ENVIRONMENT = {
    **dict.fromkeys(("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"), LEAK),
    "OPENAI_WEBHOOK_SECRET": LEAK,
    "OPENAI_BASE_URL": f"http://{LEAK}.invalid/v1",
    "OPENAI_CUSTOM_HEADERS": f"X-Custom: {LEAK}\nauthorization: Bearer {LEAK}\nUser-Agent: {LEAK}",
}
HEADERS = {
    *("host", "connection", "accept-encoding", "accept", "content-type", "content-length", "user-agent"),
    "authorization",
}
EVENT = b'data: {"choices": [{"delta": {"content": "A boat."}, "finish_reason": "stop"}]}\n\n'
STREAMED = pytest.mark.parametrize("streamed", [False, True])


def vllm(pool: Pool, url: str) -> OpenAIClient:
    return OpenAIClient(ProviderConfig("x", "vllm", url), pool)


@pytest.mark.parametrize("key", ["", "sk-own"])
async def test_the_environment_is_not_used(
    pool: Pool, trap: TrapServer, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    client = OpenAIClient(ProviderConfig("x", "openai", trap.url), pool)
    request = make_request(credentials=Credentials(key))
    for call in (client.complete(request), stream(client, request), client.models(Credentials(key), 60)):
        with pytest.raises(errors.ProviderError):
            await call
    assert len(trap.requests) == 3
    assert not trap.carries(LEAK)
    for request_seen in trap.requests:
        assert set(request_seen.headers) <= HEADERS  # no header of the environment or of the SDK
        assert request_seen.headers.get("authorization") == (f"Bearer {key}" if key else None)


@pytest.mark.parametrize("ending", [b": nothing more\n\n", b"data: {broken\n\n", b'data: {"error": {"code": 500}}\n\n'])
async def test_a_failure_after_the_finish_reason_is_ignored(
    pool: Pool, vllm_server: OpenAIServer, ending: bytes
) -> None:
    vllm_server.reply(b.Status(200, {"content-type": "text/event-stream"}, EVENT + ending))
    assert (await stream(vllm(pool, vllm_server.url), make_request())).text == "A boat."


async def test_a_stream_that_stays_open_after_the_finish_reason_is_closed(pool: Pool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + EVENT)
        await writer.drain()
        await reader.read()  # the request's body, then the end of the connection
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1") as listening:
        host, port = listening.sockets[0].getsockname()
        async with asyncio.timeout(60):
            assert (await stream(vllm(pool, f"http://{host}:{port}"), make_request(timeout=60))).text == "A boat."


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ('{"error": {"code": "429", "message": "m"}}', errors.RateLimited),
        ('{"error": {"code": 400, "message": "The model `x` is not a valid model"}}', errors.UnknownModel),
        ('{"error": "text"}', errors.BadReply),
        ('{"choices": [{"error": {"code": 502}}]}', errors.ServerFailed),
        ("null", errors.BadReply),
        ("[" * 100_000, errors.BadReply),
    ],
)
async def test_an_error_inside_a_200_is_classified(
    pool: Pool, vllm_server: OpenAIServer, event: str, expected: type[errors.ProviderError]
) -> None:
    events = f"event: ping\n\n: comment\n\ndata: {event}\n\n".encode()
    vllm_server.reply(
        b.Status(200, {"content-type": "application/json"}, event.encode()),
        b.Status(200, {"content-type": "text/event-stream"}, events),
    )
    for streamed in (False, True):
        with pytest.raises(errors.ProviderError) as caught:
            await send(vllm(pool, vllm_server.url), make_request(), streamed)
        assert type(caught.value) is expected


@STREAMED
async def test_announced_rate_limits_are_on_answers_and_errors(pool: Pool, streamed: bool) -> None:
    with LimitedServer(2, 3600) as server:
        client = OpenAIClient(ProviderConfig("x", "openai", server.url), pool)
        request = make_request(schema=None, image=None, credentials=Credentials("sk-limited"))
        outcomes: list[Completion | errors.ProviderError] = [await send(client, request, streamed)]
        server.reply(b.Length())
        for expected in (errors.Truncated, errors.RateLimited):
            with pytest.raises(expected) as caught:
                await send(client, request, streamed)
            outcomes.append(caught.value)
    allowances = [outcome.rate.requests for outcome in outcomes if outcome.rate]
    assert [allowance.remaining for allowance in allowances if allowance] == [1, 0, 0]
    assert isinstance(allowances[-1], Allowance)
    assert outcomes[-1].retry_after == pytest.approx(allowances[-1].reset, abs=1)  # type: ignore[union-attr]
