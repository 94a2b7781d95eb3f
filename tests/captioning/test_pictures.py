"""One picture for several perspectives: prepared once for each profile, whoever is cancelled."""

import asyncio
import gc
from typing import Any

import pytest

from bridge.captioning.models import CaptionOptions
from bridge.captioning.pictures import Pictures
from bridge.captioning.services import open_services
from bridge.errors import InvalidImage
from bridge.images import sources
from bridge.settings import Settings
from providers.base import ImageProfile
from tests.service import WORKSPACE

PROFILE = ImageProfile()
SMALL = ImageProfile(size=16)


async def pictures(data: bytes) -> Pictures:
    async with open_services(Settings(workspace=WORKSPACE)) as services:
        return Pictures(sources.from_upload(data, services.limits), CaptionOptions(), services)


async def test_each_profile_is_prepared_once(photo: bytes) -> None:
    one = await pictures(photo)
    first, again, small = await asyncio.gather(
        one.prepared(PROFILE, measure=False), one.prepared(PROFILE, measure=False), one.prepared(SMALL, measure=False)
    )
    assert first is again
    assert (first.image.width, small.image.width) == (64, 16)
    assert first.image.base64 is again.image.base64


async def test_who_is_cancelled_does_not_take_it_from_the_others(photo: bytes) -> None:
    one = await pictures(photo)
    first, second = (asyncio.create_task(one.prepared(SMALL, measure=False)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).image.width == 16
    assert first.cancelled()


async def test_a_failure_that_nobody_waits_for_is_not_logged(photo: bytes) -> None:
    one = await pictures(photo[:-50])  # its header is whole, its pixels are not
    with pytest.raises(InvalidImage):
        await one.prepared(SMALL, measure=False)
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    waiting = asyncio.create_task(one.prepared(ImageProfile(size=8), measure=False))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    (preparing,) = [task for key, task in one._prepared.items() if key[0].size == 8]
    await asyncio.wait([preparing])
    del preparing, waiting
    one._prepared.clear()
    await asyncio.sleep(0)
    gc.collect()
    assert complaints == []
