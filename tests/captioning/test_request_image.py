"""One image for several perspectives is prepared once per profile, also when callers are cancelled."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest

from bridge.captioning.caption import caption
from bridge.captioning.models import CaptionOptions, CaptionRequest
from bridge.captioning.plan import deadline_of
from bridge.captioning.request_image import RequestImage
from bridge.captioning.services import Services, open_services
from bridge.errors import InvalidImage
from bridge.images import sources
from bridge.images.sources import Source
from bridge.run import Run
from bridge.settings import Settings
from providers.base import Image
from providers.profiles import ImageProfile
from tests.servers import GeminiServer, OllamaServer, OpenAIServer, WireServer
from tests.servers import behaviours as b
from tests.service import WORKSPACE

PROFILE = ImageProfile()
SMALL = ImageProfile(size=16)
HANG_GUARD = 60.0


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    async with open_services(Settings(workspace=WORKSPACE)) as services:
        yield services


def request_image(data: bytes, services: Services) -> RequestImage:
    return RequestImage(sources.from_upload(data, services.limits), CaptionOptions(), services)


async def test_each_profile_is_prepared_once(photo: bytes, services: Services) -> None:
    shared = request_image(photo, services)
    first, second, small = await asyncio.gather(
        shared.prepared(PROFILE), shared.prepared(PROFILE), shared.prepared(SMALL)
    )
    assert first is second
    assert (first.image.width, small.image.width) == (64, 16)
    assert first.image.data
    shared.release()
    assert not first.image.data


async def test_a_cancelled_caller_does_not_end_the_preparation_of_others(photo: bytes, services: Services) -> None:
    shared = request_image(photo, services)
    first, second = (asyncio.create_task(shared.prepared(SMALL)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).image.width == 16
    assert first.cancelled()


async def test_the_last_cancelled_caller_ends_the_preparation(photo: bytes, services: Services) -> None:
    shared = request_image(photo, services)
    callers = [asyncio.create_task(shared.prepared(SMALL)) for _ in range(2)]
    await asyncio.sleep(0)
    (preparation,) = (each.task for each in shared._preparations.values())
    for caller in callers:
        caller.cancel()
    await asyncio.wait([*callers, preparation])
    assert preparation.cancelled()
    assert (await shared.prepared(SMALL)).image.width == 16


async def test_a_failure_that_no_caller_waits_for_is_not_logged(
    photo: bytes, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    shared = request_image(photo[:-50], services)  # its header is intact, its pixels are not
    with pytest.raises(InvalidImage):
        await shared.prepared(SMALL)
    shared.release()
    gc.collect()
    assert not caplog.records


ENDS: dict[str, b.Behaviour] = {
    "answered": b.Answer(),
    "rejected": b.Status(400),
    "failing": b.Status(500),
    "limited": b.Status(429, retry_after=0.01),
    "schema": b.RejectSchema(),
    "invalid": b.WrongSchema(),
    "refused": b.Refusal(),
    "cut": b.Cut(),
    "reset": b.Reset(),
    "no JSON": b.NotJson(),
    "redirect": b.Redirect("http://127.0.0.1:9/"),
    "late": b.Hang(),
}
SERVERS: dict[str, type[WireServer]] = {"openai": OpenAIServer, "ollama": OllamaServer, "gemini": GeminiServer}


@pytest.fixture
def images_before() -> Iterator[set[int]]:
    """Disable the garbage collector: what only it would free stays visible."""
    gc.collect()
    gc.disable()
    yield {id(each) for each in images_in_memory()}
    gc.enable()


def images_in_memory() -> list[object]:
    return [each for each in gc.get_objects() if isinstance(each, Source | Image) and each.data]


@pytest.mark.slow
@pytest.mark.parametrize("kind", SERVERS)
async def test_no_image_stays_in_memory_after_its_request(
    kind: str, photo: bytes, images_before: set[int], services: Services
) -> None:
    async def caption_with(end: str) -> str:
        with SERVERS[kind]() as server:
            server.default = ENDS[end]
            config = {"kind": kind, "base_url": server.url, "api_key": server.key}
            fields = {"perspective": "alt_text", "model": server.models[0], "provider_config": config}
            request = CaptionRequest.model_validate(fields | ({"timeout": 2} if end == "late" else {}))
            run = Run(deadline_of(request, services))
            with suppress(Exception):
                await caption(request, services, run, upload=photo)
            return run.outcome

    outcomes = dict(zip(ENDS, await asyncio.gather(*map(caption_with, ENDS)), strict=True))
    assert [end for end, outcome in outcomes.items() if outcome == "ok"] == ["answered"], outcomes
    async with asyncio.timeout(HANG_GUARD):
        while [each for each in images_in_memory() if id(each) not in images_before]:  # noqa: ASYNC110 (gc has no event)
            await asyncio.sleep(0.01)
