"""The Ollama client: behaviour that is not part of the contract of all clients."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from providers import errors
from providers.pool import Pool
from tests.contract.kinds import KIND_BY_NAME
from tests.contract.schemas import PLAIN
from tests.contract.target import PHOTO, Target, make_target
from tests.servers import OllamaServer
from tests.servers import behaviours as b


def ollama_target(pool: Pool, server: OllamaServer, **options: Any) -> Target:
    return make_target(KIND_BY_NAME["ollama"], server, pool, options=options)


async def test_configured_options_are_sent(pool: Pool, ollama_server: OllamaServer) -> None:
    await ollama_target(pool, ollama_server, num_ctx=4096, keep_alive="10m", think=False).complete()
    body = ollama_server.call.body
    assert (body["options"], body["keep_alive"], body["think"]) == ({"num_ctx": 4096}, "10m", False)


async def test_a_full_context_is_a_warning(pool: Pool, ollama_server: OllamaServer, streamed: bool) -> None:
    """haoxiang-xu/PuPu#227: Ollama truncates the prompt and returns a 200."""
    (warning,) = (await ollama_target(pool, ollama_server, num_ctx=150).ask(streamed)).warnings
    assert "num_ctx" in warning


async def test_a_schema_that_is_rejected_inside_a_stream(pool: Pool, ollama_server: OllamaServer) -> None:
    """ollama/ollama#12422: the rejection is sent in a 200."""
    ollama_server.reply(b.ErrorInStream("failed to load model vocabulary required for format", text=""))
    assert type(await ollama_target(pool, ollama_server).failure(True, schema=PLAIN)) is errors.SchemaRejected


async def test_a_path_is_not_read_as_an_image(pool: Pool, ollama_server: OllamaServer, tmp_path: Path) -> None:
    """The SDK opens a file if the image is a string (ollama 0.6.3); the client passes bytes."""
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"the file's content")
    ollama = ollama_target(pool, ollama_server)
    image = replace(PHOTO, data=str(secret).encode())
    written: Any = ollama.client.body(ollama.request(image=image))
    assert [type(sent) for sent in written["messages"][0]["images"]] == [bytes]
    await ollama.failure(image=image)
    assert b"file's content" not in ollama_server.requests[-1].body
