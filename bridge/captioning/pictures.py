"""One picture: acquired once, prepared once for each distinct image profile that is asked for."""

import asyncio

from bridge.captioning.resources import Resources
from bridge.captioning.types import CaptionOptions
from bridge.images import sources
from bridge.images.prepare import Prepared, prepare
from bridge.images.sources import Source
from providers.base import ImageProfile

_QUICK = 1024 * 1024  # characters of base64 that are decoded in less time than a thread costs


class Pictures:
    """A request's picture in every form its targets want."""

    def __init__(self, source: Source, options: CaptionOptions, resources: Resources) -> None:
        self._source = source
        self._resize = options.resize_resolution
        self._limits = resources.limits
        self._prepared: dict[tuple[ImageProfile, bool], asyncio.Task[Prepared]] = {}

    async def prepared(self, profile: ImageProfile, *, measure: bool) -> Prepared:
        """The picture as this profile wants it; measured as well where the provider reads measurements.

        Several perspectives share one preparation, and one that is cancelled does not take it from the others.
        """
        key = (profile, measure)
        if key not in self._prepared:
            job = prepare(self._source, profile, resize=self._resize, limits=self._limits, measure=measure)
            self._prepared[key] = task = asyncio.create_task(job)
            task.add_done_callback(_look)
        return await asyncio.shield(self._prepared[key])


def _look(task: asyncio.Task[Prepared]) -> None:
    """A failure that comes when everybody who waited was cancelled is nobody's; asyncio would log it."""
    if not task.cancelled():
        task.exception()


async def acquire(options: CaptionOptions, upload: bytes | None, resources: Resources) -> Source:
    """The picture's bytes, their header checked. Raises ImageError."""
    limits, ref = resources.limits, options.image
    if upload is not None or ref is None:
        return sources.from_upload(upload or b"", limits)
    if ref.path is not None:
        return await sources.from_path(ref.path, resources.settings.workspace, limits)
    if ref.url is not None:
        return await sources.from_url(ref.url, resources.fetcher, limits)
    encoded = ref.base64 or ""
    if len(encoded) < _QUICK:
        return sources.from_base64(encoded, limits)
    return await asyncio.to_thread(sources.from_base64, encoded, limits)
