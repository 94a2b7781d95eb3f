"""One image for several perspectives is prepared once per profile, also when callers are cancelled."""

import asyncio

from bridge import caption
from bridge.captioning.models import CaptionOptions
from bridge.captioning.request_image import RequestImage
from bridge.captioning.services import Services, open_services
from bridge.deadline import Deadline
from bridge.images import sources
from bridge.run import Progress, Run
from bridge.settings import Settings
from providers.profiles import ImageProfile
from tests.guard import GUARD
from tests.service import WORKSPACE

PROFILE = ImageProfile()
SMALL = ImageProfile(size=16)


def request_image(data: bytes, services: Services) -> RequestImage:
    return RequestImage(sources.from_upload(data, services.limits), CaptionOptions(), services)


async def test_each_profile_is_prepared_once(photo: bytes, services: Services) -> None:
    shared = request_image(photo, services)
    first, second, small = await asyncio.gather(*map(shared.prepared, (PROFILE, PROFILE, SMALL)))
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


async def test_the_end_of_the_request_ends_the_preparation(photo: bytes, services: Services) -> None:
    shared, running = request_image(photo, services), asyncio.all_tasks()
    caller = asyncio.create_task(shared.prepared(SMALL))
    await asyncio.sleep(0)
    (preparation,) = asyncio.all_tasks() - running - {caller}
    caller.cancel()
    shared.release()
    await asyncio.wait([caller, preparation])
    assert preparation.cancelled()


async def test_image_workers_serve_callers_round_robin(photo: bytes) -> None:
    """A caller with many images does not delay other callers."""
    prepared: list[str] = []

    async def make(name: str, services: Services) -> None:
        def note(event: object) -> None:
            if isinstance(event, Progress) and event.stage == "model":
                prepared.append(name)

        run = Run(Deadline(GUARD), caller=name[0], emit=note)
        await caption(photo, "alt_text", services=services, run=run)

    async with open_services(Settings(workspace=WORKSPACE, image_workers=1)) as services:
        await make("x", services)  # starts the worker
        await asyncio.gather(*(make(name, services) for name in ("a1", "a2", "a3", "a4", "b1")))
    assert prepared[1:] == ["a1", "a2", "b1", "a3", "a4"]
