"""The image of a request. The image is loaded once, and prepared once for each distinct image profile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from bridge.captioning.models import CaptionOptions
from bridge.captioning.plan import AnalysisPlan, Plan
from bridge.captioning.services import Services
from bridge.images import sources
from bridge.images.prepare import Prepared, prepare
from bridge.images.sources import Access, Source
from bridge.run import Run
from providers.profiles import ImageProfile


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
        self._preparations: dict[tuple[ImageProfile, bool], asyncio.Task[Prepared]] = {}

    async def prepared(self, profile: ImageProfile, *, statistics: bool = False) -> Prepared:
        """Return the image prepared for this profile. `statistics`: also measure its pixels. Raises ImageError.

        Callers with the same arguments share one preparation. It continues when one of them is cancelled.
        """
        key = (profile, statistics)
        if key not in self._preparations:
            self._preparations[key] = asyncio.create_task(self._prepare(profile, statistics=statistics))
        task = self._preparations[key]
        await asyncio.wait([task])
        return task.result()

    def release(self) -> None:
        """Free the bytes of the image and of all prepared images. Call this when the request has ended."""
        for task in self._preparations.values():
            if not task.done():
                task.cancel()
            elif not task.cancelled() and task.exception() is None:
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
