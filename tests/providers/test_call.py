"""One call: its key, its time limit, the translation of foreign exceptions."""

import httpx2
import pytest

from providers import errors
from providers.addresses import NotDialled
from providers.base import Credentials, ProviderConfig, VisionRequest
from providers.pool import Pool
from providers.registry import client


@pytest.mark.parametrize("kind", ["vllm", "ollama", "gemini"])
async def test_a_refused_address_reaches_the_caller(kind: str) -> None:
    refused = NotDialled("This address is not allowed.")

    class Transport(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            raise httpx2.ConnectError("no") from refused

    pool = Pool(lambda keepalive: Transport())
    refusing = client(ProviderConfig("x", kind, "http://127.0.0.1:9"), pool)
    for call in (
        refusing.complete(VisionRequest("m", "p", 5)),
        anext(aiter(refusing.stream(VisionRequest("m", "p", 5)))),
        refusing.models(Credentials(), 60),
    ):
        with pytest.raises(errors.Unreachable, match="not allowed") as caught:
            await call
        assert caught.value.__cause__ is refused
    await pool.aclose()
