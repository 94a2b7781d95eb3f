"""A picture goes when its request has ended, whatever it ended in: what waits for the garbage collector adds up to
gigabytes when a provider fails and the pictures are large."""

import asyncio
import gc
from collections.abc import Iterator

import pytest

from bridge.captioning.caption import caption
from bridge.captioning.models import CaptionRequest
from bridge.captioning.services import Services, open_services
from bridge.captioning.structured import OutputInvalid
from bridge.deadline import DeadlineExceeded
from bridge.errors import InvalidImage
from bridge.images.sources import Source
from bridge.settings import Settings
from providers.base import VisionRequest
from providers.errors import ProviderError
from tests.servers import GeminiServer, OllamaServer, OpenAIServer, WireServer
from tests.servers import behaviours as b
from tests.service import WORKSPACE

ENDS = {
    "answered": b.Answer(),
    "rejected": b.Status(400),
    "failing": b.Status(500),
    "limited": b.Status(429, retry_after=0.01),
    "schema": b.RejectSchema(),
    "misfit": b.WrongSchema(),
    "refused": b.Refusal(),
    "cut": b.Cut(),
    "reset": b.Reset(),
    "no JSON": b.NotJson(),
    "redirect": b.Redirect("http://127.0.0.1:9/"),
    "compressed": b.Compressed(),
    "too long": b.Huge(),
    "late": b.Hang(),
}
HANG_GUARD = 5.0
FAILURES = (ProviderError, OutputInvalid, DeadlineExceeded)


SERVERS: dict[str, type[WireServer]] = {"openai": OpenAIServer, "ollama": OllamaServer, "gemini": GeminiServer}


@pytest.fixture
def before() -> Iterator[set[int]]:
    """What other tests left; from here on nothing is collected."""
    gc.collect()
    gc.disable()
    yield {id(one) for one in held()}
    gc.enable()


def held() -> list[object]:
    return [one for one in gc.get_objects() if isinstance(one, Source | VisionRequest)]


async def nothing_is_kept(before: set[int]) -> None:
    """A thread that decoded may hold its work for an instant longer."""
    async with asyncio.timeout(HANG_GUARD):
        while [one for one in held() if id(one) not in before]:  # noqa: ASYNC110 (gc has no event)
            await asyncio.sleep(0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SERVERS)
async def test_nothing_keeps_a_picture(kind: str, photo: bytes, before: set[int]) -> None:
    async def ends(end: str, services: Services) -> bool:
        with SERVERS[kind]() as server:
            server.reply(*[ENDS[end]] * 20)
            config = {"kind": kind, "base_url": server.url, "api_key": server.key}
            fields = {"perspective": "alt_text", "model": server.models[0], "provider_config": config}
            request = CaptionRequest.model_validate({**fields, "timeout": 2 if end == "late" else 20})
            try:
                await caption(request, services, upload=photo)
            except FAILURES:
                return False
            return True

    async with open_services(Settings(workspace=WORKSPACE)) as services:
        ended = await asyncio.gather(*(ends(one, services) for one in ENDS))
    assert [end for end, well in zip(ENDS, ended, strict=True) if well] == ["answered"]
    await nothing_is_kept(before)


async def test_nothing_keeps_a_picture_that_is_broken(photo: bytes, before: set[int]) -> None:
    async with open_services(Settings(workspace=WORKSPACE)) as services:
        request = CaptionRequest.model_validate({"perspective": "alt_text"})
        with pytest.raises(InvalidImage):
            await caption(request, services, upload=photo[:-50])
        await asyncio.sleep(0)
    await nothing_is_kept(before)
