"""The image of a request. The image is loaded once, and prepared once for each distinct image profile."""

import asyncio
from dataclasses import dataclass
from functools import partial

from bridge.captioning.models import CaptionOptions
from bridge.captioning.services import Services
from bridge.images import sources
from bridge.images.prepare import Prepared, prepare
from bridge.images.sources import Access, Source
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
        """Return the image prepared for this profile. `statistics`: also measure its pixels.

        Callers with the same arguments share one preparation. The preparation is cancelled when all callers that wait
        for it have been cancelled. Raises ImageError.
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


async def acquire(options: CaptionOptions, upload: bytes | None, services: Services) -> Source:
    """Load the image and check its header. Raises ImageError."""
    access = Access(services.settings.workspace, services.fetcher, services.limits)
    for kind, reference in (options.image or ()) if upload is None else ():
        if reference is not None:
            return await sources.load(kind, reference, access)
    data = upload or b""
    return await sources.off_loop(len(data), partial(sources.from_upload, data, services.limits))
