"""Both httpx generations behind one set of rules."""

import subprocess
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import httpx2
import pytest

from providers.errors import BadReply, WrongPath
from providers.pool import Pool
from tests.servers import OpenAIServer, TrapServer
from tests.servers import behaviours as b

ASKED = {"model": "tiny-vision", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(params=["httpx_client", "httpx2_client"])
def generation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def pool(anyio_backend: str) -> AsyncIterator[Pool]:
    pool = Pool(max_reply_bytes=20_000)
    yield pool
    await pool.aclose()


async def ask(pool: Pool, generation: str, server: OpenAIServer) -> Any:
    return await getattr(pool, generation).post(f"{server.url}/chat/completions", json=ASKED)


async def test_connections_are_kept(pool: Pool, generation: str, vllm_server: OpenAIServer) -> None:
    for _ in range(3):
        assert (await ask(pool, generation, vllm_server)).status_code == 200
    assert vllm_server.connections == 1


async def test_a_reply_ends_at_the_limit(pool: Pool, generation: str, vllm_server: OpenAIServer) -> None:
    vllm_server.reply(b.Huge())
    with pytest.raises(BadReply, match="20000"):
        await ask(pool, generation, vllm_server)


async def test_a_cut_reply_is_told_from_no_reply(pool: Pool, generation: str, vllm_server: OpenAIServer) -> None:
    vllm_server.reply(b.Cut(), b.Reset())
    with pytest.raises(BadReply, match="broke off") as caught:
        await ask(pool, generation, vllm_server)
    assert caught.value.__context__ is None
    with pytest.raises((httpx.NetworkError, httpx2.NetworkError)):
        await ask(pool, generation, vllm_server)


async def test_no_redirect_is_followed(
    pool: Pool, generation: str, vllm_server: OpenAIServer, trap: TrapServer
) -> None:
    vllm_server.reply(b.Redirect(trap.url))
    with pytest.raises(WrongPath) as caught:
        await ask(pool, generation, vllm_server)
    assert caught.value.status == 307
    assert trap.untouched


async def test_nothing_compressed_is_asked_for_or_taken(pool: Pool, generation: str, vllm_server: OpenAIServer) -> None:
    vllm_server.reply(b.Compressed())
    with pytest.raises(BadReply, match="compressed"):
        await ask(pool, generation, vllm_server)
    assert vllm_server.call.headers["accept-encoding"] == "identity"


async def test_no_cookie_is_kept(pool: Pool, generation: str, vllm_server: OpenAIServer) -> None:
    vllm_server.reply(b.Status(500, headers={"set-cookie": "session=1; Path=/"}))
    await ask(pool, generation, vllm_server)
    await ask(pool, generation, vllm_server)
    assert "cookie" not in vllm_server.calls[-1].headers


async def test_proxies_of_the_environment_are_honoured(
    generation: str, trap: TrapServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", trap.url)
    pool = Pool()
    reply = await getattr(pool, generation).get("http://model.example/v1/models")
    assert reply.status_code == 418
    assert trap.requests[0].target == "http://model.example/v1/models"
    await pool.aclose()


async def test_a_guarded_pool_dials_by_itself(
    generation: str, trap: TrapServer, vllm_server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", trap.url)
    made: list[object] = []

    def old() -> httpx.AsyncBaseTransport:
        made.append(httpx.AsyncHTTPTransport())
        return made[-1]  # type: ignore[return-value]

    def new() -> httpx2.AsyncBaseTransport:
        made.append(httpx2.AsyncHTTPTransport())
        return made[-1]  # type: ignore[return-value]

    pool = Pool(httpx_transport_factory=old, httpx2_transport_factory=new)
    await ask(pool, generation, vllm_server)
    await ask(pool, generation, vllm_server)
    assert trap.untouched
    assert len(made) == 1
    await pool.aclose()


async def test_a_client_of_an_sdk_closes_without_closing_the_pool(pool: Pool, vllm_server: OpenAIServer) -> None:
    for _ in range(2):
        async with httpx.AsyncClient(transport=pool.httpx_transport(), trust_env=False) as sdk:
            assert (await sdk.get(f"{vllm_server.url}/models")).status_code == 200
    assert vllm_server.connections == 1


async def test_two_threads_open_one_client(generation: str) -> None:
    pool = Pool()
    with ThreadPoolExecutor(8) as threads:
        opened = set(threads.map(lambda _: id(getattr(pool, generation)), range(8)))
    assert len(opened) == 1
    await pool.aclose()


def test_nothing_is_imported_before_it_is_used() -> None:
    code = "import sys; from providers.pool import Pool; Pool(); print({'httpx', 'httpx2'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"


async def test_the_way_in_for_ollama_is_one_class(pool: Pool) -> None:
    assert type(pool.httpx_transport()) is type(pool.httpx_transport())
