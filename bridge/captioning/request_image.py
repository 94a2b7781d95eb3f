"""The image of a request. The image is loaded once, and prepared once for each distinct image profile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from bridge.captioning.models import CaptionOptions
from bridge.captioning.plan import AnalysisPlan, Plan
from bridge.captioning.services import Services
from bridge.images import sources
from bridge.images.prepare import Prepared, prepare
from bridge.images.sources import Access, Source
from bridge.run import Run
from providers.profiles import ImageProfile


@dataclass(slots=True)
class _Preparation:
    """A preparation that may be running, and how many callers wait for it."""

    task: asyncio.Task[Prepared]
    waiting: int = 0


class RequestImage:
    """The image of a request, and the prepared images for its targets."""

    def __init__(self, source: Source, options: CaptionOptions, services: Services, caller: str = "") -> None:
        """`caller`: identifies the caller, because busy image workers serve callers in turn."""
        self._source = source
        self._prepare = partial(
            prepare,
            source,
            resize=options.resize_resolution,
            limits=services.limits,
            decoder=services.decoder,
            caller=caller,
        )
        self._preparations: dict[tuple[ImageProfile, bool], _Preparation] = {}

    async def prepared(self, profile: ImageProfile, *, statistics: bool = False) -> Prepared:
        """Return the image prepared for this profile. `statistics`: also measure its pixels. Raises ImageError.

        Callers with the same arguments share one preparation, which is cancelled when all of them are cancelled.
        """
        key = (profile, statistics)
        preparation = self._preparations.get(key)
        if preparation is None:
            task = asyncio.create_task(self._prepare(profile, statistics=statistics))
            preparation = self._preparations[key] = _Preparation(task)
        preparation.waiting += 1
        try:
            await asyncio.wait([preparation.task])
        finally:
            preparation.waiting -= 1
            if not preparation.waiting and not preparation.task.done():
                del self._preparations[key]
                preparation.task.cancel()
            elif preparation.task.done() and not preparation.task.cancelled():
                preparation.task.exception()  # otherwise asyncio logs an exception that was not retrieved
        return preparation.task.result()

    def release(self) -> None:
        """Free the bytes of the image and of all prepared images. Call this when the request has ended."""
        for preparation in self._preparations.values():
            task = preparation.task
            if task.done() and not task.cancelled() and task.exception() is None:
                task.result().image.release()
        self._preparations.clear()
        self._source.release()


@asynccontextmanager
async def loaded_image(plan: Plan | AnalysisPlan, services: Services, run: Run) -> AsyncIterator[RequestImage]:
    """Load the image and check its header. Release it when the context ends. Raises ImageError."""
    for each in run.children or [run]:
        each.stage("image")
    with run.timings.measure("image"):
        async with run.deadline.within("loading the image"):
            source = await _load(plan, services)
    run.image_bytes[source.origin] = len(source.data)
    image = RequestImage(source, plan.options, services, run.caller)
    try:
        yield image
    finally:
        image.release()


async def _load(plan: Plan | AnalysisPlan, services: Services) -> Source:
    if (data := plan.upload) is not None:
        return await sources.off_loop(len(data), partial(sources.from_upload, data, services.limits))
    field, reference = next((field, value) for field, value in plan.options.image or () if value is not None)
    return await sources.load(field, reference, Access(services.settings.workspace, services.fetcher, services.limits))
