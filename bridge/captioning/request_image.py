"""The image of a request: loaded once, prepared once for each distinct image profile."""

import asyncio
from dataclasses import dataclass
from functools import partial

from anyio import to_thread

from bridge.captioning.models import CaptionOptions
from bridge.captioning.services import Services
from bridge.images import sources
from bridge.images.prepare import Prepared, prepare
from bridge.images.sources import Access, Source
from providers.profiles import ImageProfile


@dataclass(slots=True)
class _Preparation:
    """A running or finished preparation, and how many callers wait for it."""

    task: asyncio.Task[Prepared]
    waiting: int = 0


class RequestImage:
    """A request's image in every form that its targets accept."""

    def __init__(self, source: Source, options: CaptionOptions, services: Services) -> None:
        self._source = source
        self._prepare = partial(
            prepare, source, resize=options.resize_resolution, limits=services.limits, decoder=services.decoder
        )
        self._preparations: dict[tuple[ImageProfile, bool], _Preparation] = {}

    async def prepared(self, profile: ImageProfile, *, statistics: bool = False) -> Prepared:
        """Return the image as this profile accepts it, with statistics of its pixels where they are needed.

        Perspectives share one preparation. It ends when the last caller that waits for it is cancelled. Raises
        ImageError.
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
                preparation.task.exception()  # retrieved, or asyncio logs it when every caller was cancelled
        return preparation.task.result()

    def release(self) -> None:
        """Drop the image's bytes in every form, once the request has ended."""
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
    if len(data) < sources.QUICK:
        return sources.from_upload(data, services.limits)
    return await to_thread.run_sync(sources.from_upload, data, services.limits)
