"""What a reply's headers say of the limits goes up with whatever comes of the call."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from providers.base import Completion, Credentials, ProviderConfig, VisionRequest
from providers.errors import ProviderError, RateLimited, Truncated
from providers.hints import Allowance, RateHints
from providers.openai import OpenAIClient
from providers.pool import Pool
from tests.servers import behaviours as b
from tests.servers.limited import LimitedServer

REQUEST = VisionRequest(model="tiny-vision", prompt="Look.", timeout=10, credentials=Credentials("sk-limited"))


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    opened = Pool()
    yield opened
    await opened.aclose()


async def streamed(client: OpenAIClient) -> Completion:
    parts = [part async for part in client.stream(REQUEST)]
    assert isinstance(parts[-1], Completion)
    return parts[-1]


def allowance(hints: RateHints | None) -> Allowance:
    assert hints is not None
    assert hints.requests is not None
    assert hints.requests.reset is not None
    return hints.requests


@pytest.mark.parametrize("streams", [False, True])
async def test_with_answers_and_with_errors(pool: Pool, streams: bool) -> None:
    with LimitedServer(2, 3600) as server:
        client = await asyncio.to_thread(OpenAIClient, ProviderConfig("x", "openai", server.url), pool)
        answered = await (streamed(client) if streams else client.complete(REQUEST))
        assert (allowance(answered.rate).remaining, allowance(answered.rate).limit) == (1, 2)
        server.reply(b.Length())
        failures: list[ProviderError] = []
        for _ in range(2):
            with pytest.raises(ProviderError) as raised:
                await (streamed(client) if streams else client.complete(REQUEST))
            failures.append(raised.value)
        cut, refused = failures
        assert isinstance(cut, Truncated)
        assert allowance(cut.rate).remaining == 0
        assert isinstance(refused, RateLimited)
        assert (allowance(refused.rate).remaining, refused.status) == (0, 429)
        assert refused.retry_after == pytest.approx(allowance(refused.rate).reset, abs=1)
