"""The client on the openai package: what leaves it, and what the contract suite does not ask of every client."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from providers import errors
from providers.base import Completion, Credentials, Options, ProviderConfig, VisionRequest
from providers.gateways import GatewayClient
from providers.openai import OpenAIClient
from providers.pool import Pool
from tests.servers import OpenAIServer, TrapServer
from tests.servers import behaviours as b

LEAK = "leak-of-the-environment"
ENVIRONMENT = {
    "OPENAI_API_KEY": LEAK,
    "OPENAI_ADMIN_KEY": LEAK,
    "OPENAI_ORG_ID": LEAK,
    "OPENAI_PROJECT_ID": LEAK,
    "OPENAI_WEBHOOK_SECRET": LEAK,
    "OPENAI_BASE_URL": f"http://{LEAK}.invalid/v1",
    "OPENAI_CUSTOM_HEADERS": f"X-Custom: {LEAK}\nauthorization: Bearer {LEAK}\nUser-Agent: {LEAK}",
}
OURS = {
    *("host", "connection", "accept-encoding", "accept", "content-type", "content-length", "user-agent"),
    "authorization",
}


@pytest.fixture
async def pool(anyio_backend: str) -> AsyncIterator[Pool]:
    pool = Pool()
    yield pool
    await pool.aclose()


def asked(**changes: Any) -> VisionRequest:
    fields: dict[str, Any] = {"model": "tiny-vision", "prompt": "Look.", "timeout": 5.0, **changes}
    return VisionRequest(**fields)


async def streamed(client: OpenAIClient, request: VisionRequest) -> list[Any]:
    return [each async for each in client.stream(request)]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("key", ["", "sk-own"])
async def test_nothing_of_the_environment_reaches_a_strangers_address(pool: Pool, trap: TrapServer, key: str) -> None:
    client = OpenAIClient(ProviderConfig("x", "openai", trap.url), pool)
    request = asked(credentials=Credentials(key))
    for call in (client.complete(request), streamed(client, request), client.models(Credentials(key), 5)):
        with pytest.raises(errors.ProviderError):
            await call
    assert len(trap.requests) == 3
    assert not trap.carries(LEAK)
    for seen in trap.requests:
        assert set(seen.headers) <= OURS  # neither the environment's nor the SDK's own
        assert seen.headers.get("authorization") == (f"Bearer {key}" if key else None)


async def test_configured_headers_and_those_of_the_request(pool: Pool, trap: TrapServer) -> None:
    options = {"organization": "org-1", "project": "proj-1"}
    client = OpenAIClient(ProviderConfig("x", "openai", trap.url, options=options), pool)
    with pytest.raises(errors.ProviderError):
        await client.complete(asked(headers={"traceparent": "00-1"}, credentials=Credentials(" sk-1\n")))
    (seen,) = trap.requests
    assert seen.headers["openai-organization"] == "org-1"
    assert seen.headers["openai-project"] == "proj-1"
    assert seen.headers["traceparent"] == "00-1"
    assert seen.headers["authorization"] == "Bearer sk-1"


@pytest.mark.parametrize("options", [{"detail": 3}, {"extra_body": "text"}, {"organization": None}])
async def test_a_wrong_option_is_refused_before_anything_leaves(
    pool: Pool, trap: TrapServer, options: dict[str, Any]
) -> None:
    client = OpenAIClient(ProviderConfig("x", "openai", trap.url, options=options), pool)
    with pytest.raises(errors.RequestRejected, match=next(iter(options))):
        await client.complete(asked())
    assert trap.untouched


async def test_streams_leave_their_connection_usable(pool: Pool, vllm_server: OpenAIServer) -> None:
    client = GatewayClient(ProviderConfig("x", "vllm", vllm_server.url), pool)
    for _ in range(3):
        assert isinstance((await streamed(client, asked()))[-1], Completion)
    assert vllm_server.connections == 1


@pytest.mark.parametrize("ending", [b": nothing more\n\n", b"data: {broken\n\n", b'data: {"error": {"code": 500}}\n\n'])
async def test_what_goes_wrong_after_the_answer_is_whole_is_let_go(
    pool: Pool, vllm_server: OpenAIServer, ending: bytes
) -> None:
    body = b'data: {"choices": [{"delta": {"content": "A boat."}, "finish_reason": "stop"}]}\n\n' + ending
    vllm_server.reply(b.Status(200, {"content-type": "text/event-stream"}, body))
    client = GatewayClient(ProviderConfig("x", "vllm", vllm_server.url), pool)
    assert (await streamed(client, asked()))[-1].text == "A boat."


async def test_a_server_that_never_ends_a_whole_answer_is_not_waited_for(pool: Pool) -> None:
    event = b'data: {"choices": [{"delta": {"content": "A boat."}, "finish_reason": "stop"}]}\n\n'

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + event)
        await writer.drain()
        await reader.read()  # the request's body, then the end that the client makes
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1") as listening:
        host, port = listening.sockets[0].getsockname()
        client = GatewayClient(ProviderConfig("x", "vllm", f"http://{host}:{port}"), pool)
        async with asyncio.timeout(4):
            assert (await streamed(client, asked(timeout=60)))[-1].text == "A boat."


@pytest.mark.parametrize(
    ("event", "wanted"),
    [
        ('{"error": {"code": "429", "message": "m"}}', errors.RateLimited),
        ('{"error": {"code": 400, "message": "The model `x` is a not a valid model"}}', errors.UnknownModel),
        ('{"error": "text"}', errors.BadReply),
        ('{"choices": [{"error": {"code": 502}}]}', errors.ServerFailed),
        ("null", errors.BadReply),
        ("[" * 100_000, errors.BadReply),
    ],
)
async def test_an_error_inside_a_200_is_classified(
    pool: Pool, vllm_server: OpenAIServer, event: str, wanted: type[errors.ProviderError]
) -> None:
    events = f"event: ping\n\n: comment\n\ndata: {event}\n\n".encode()
    vllm_server.reply(
        b.Status(200, {"content-type": "text/event-stream"}, events),
        b.Status(200, {"content-type": "application/json"}, event.encode()),
    )
    client = GatewayClient(ProviderConfig("x", "vllm", vllm_server.url), pool)
    for call in (streamed(client, asked()), client.complete(asked())):
        with pytest.raises(errors.ProviderError) as caught:
            await call
        assert type(caught.value) is wanted


async def test_why_there_is_no_connection_stays_on_the_error(pool: Pool) -> None:
    """The address guard's refusal is told through it."""
    client = GatewayClient(ProviderConfig("x", "vllm", "http://127.0.0.1:9"), pool)
    with pytest.raises(errors.Unreachable) as caught:
        await client.complete(asked())
    assert isinstance(caught.value.__cause__, OSError)


async def test_half_a_character_is_told_as_the_requests_fault(pool: Pool, trap: TrapServer) -> None:
    client = GatewayClient(ProviderConfig("x", "vllm", trap.url), pool)
    with pytest.raises(errors.RequestRejected):
        await client.complete(asked(prompt="\ud800"))


async def test_a_model_that_takes_no_temperature_is_told_by_its_name(pool: Pool, openai_server: OpenAIServer) -> None:
    """tmc/langchaingo#1355, for a model whose family we do not know yet."""
    body = b'{"error": {"message": "m", "param": "temperature", "code": "unsupported_value"}}'
    openai_server.reply(b.Status(400, body=body))
    client = OpenAIClient(ProviderConfig("x", "openai", openai_server.url), pool)
    request = asked(model="gpt-4.1-mini", options=Options(temperature=0.2), credentials=Credentials(openai_server.key))
    with pytest.raises(errors.RequestRejected, match="temperature"):
        await client.complete(request)
