"""The Ollama client: what the contract suite does not show of every client."""

from pathlib import Path
from typing import Any

import pytest

from providers import errors
from providers.base import Credentials, Image, ProviderConfig
from providers.ollama import OllamaClient
from providers.pool import Pool
from tests.providers.calls import make_request, send, stream
from tests.servers import OllamaServer, TrapServer
from tests.servers import behaviours as b

STREAMED = pytest.mark.parametrize("streamed", [False, True])


def client(pool: Pool, server: OllamaServer, **options: Any) -> OllamaClient:
    return OllamaClient(ProviderConfig("ollama", "ollama", server.url, options=options), pool)


async def test_configured_options_are_sent(pool: Pool, ollama_server: OllamaServer) -> None:
    await client(pool, ollama_server, num_ctx=4096, keep_alive="10m", think=False).complete(make_request())
    body = ollama_server.call.body
    assert (body["options"], body["keep_alive"], body["think"]) == ({"num_ctx": 4096}, "10m", False)


@STREAMED
async def test_a_full_context_is_a_warning(pool: Pool, ollama_server: OllamaServer, streamed: bool) -> None:
    """haoxiang-xu/PuPu#227: Ollama drops the start of a prompt behind a 200."""
    completion = await send(client(pool, ollama_server, num_ctx=150), make_request(), streamed)
    assert len(completion.warnings) == 1
    assert "num_ctx" in completion.warnings[0]


async def test_a_schema_that_is_rejected_inside_a_stream(pool: Pool, ollama_server: OllamaServer) -> None:
    """ollama/ollama#12422: the rejection comes inside a 200."""
    ollama_server.reply(b.ErrorInStream("failed to load model vocabulary required for format", text=""))
    with pytest.raises(errors.SchemaRejected):
        await stream(client(pool, ollama_server), make_request())


async def test_a_path_is_not_read_as_an_image(pool: Pool, ollama_server: OllamaServer, tmp_path: Path) -> None:
    """The SDK reads a file for a text (ollama 0.6.3); the client passes bytes, which are sent as they are."""
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"the file's content")
    request = make_request(image=Image(str(secret).encode(), "image/jpeg", 1, 1))
    ollama = client(pool, ollama_server)
    written: Any = ollama.body(request)
    assert [type(image) for image in written["messages"][0]["images"]] == [bytes]
    with pytest.raises(errors.ProviderError):
        await ollama.complete(request)
    assert b"file's content" not in ollama_server.requests[-1].body


@pytest.mark.parametrize("key", ["", "key-of-the-caller"])
async def test_the_environment_is_not_used(
    pool: Pool, ollama_server: OllamaServer, trap: TrapServer, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", "key-of-the-environment")
    monkeypatch.setenv("OLLAMA_HOST", trap.url)
    ollama = client(pool, ollama_server)
    await ollama.models(Credentials(key), 60)
    await ollama.complete(make_request(credentials=Credentials(key)))
    assert trap.untouched
    sent = [request.headers.get("authorization") for request in ollama_server.requests]
    assert sent == [f"Bearer {key}" if key else None] * 2
