"""One pool of connections with the same rules for every SDK."""

import httpx2
import pytest

from providers.pool import KEEPALIVE_SECONDS, Pool
from tests.servers import OpenAIServer, RecordingServer

BODY = {"model": "tiny-vision", "messages": [{"role": "user", "content": "hi"}]}


async def test_proxies_of_the_environment_are_used(
    recording_server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", recording_server.url)
    pool = Pool()
    assert (await pool.client.get("http://model.example/v1/models")).status_code == 418
    assert recording_server.requests[0].target == "http://model.example/v1/models"
    await pool.aclose()


async def test_a_pool_with_a_transport_uses_no_proxy(
    recording_server: RecordingServer, vllm_server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", recording_server.url)
    created: list[float] = []

    def transport(keepalive: float) -> httpx2.AsyncBaseTransport:
        created.append(keepalive)
        return httpx2.AsyncHTTPTransport()

    pool = Pool(transport)
    for _ in range(2):
        await pool.client.post(f"{vllm_server.url}/chat/completions", json=BODY)
    assert recording_server.not_called
    assert created == [KEEPALIVE_SECONDS]
    await pool.aclose()
