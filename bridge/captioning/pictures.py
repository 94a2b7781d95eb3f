"""One picture: acquired once, prepared once for each distinct image profile that is asked for."""

import asyncio
from collections.abc import Callable
from copy import copy
from typing import TypeVar

from bridge.captioning.models import CaptionOptions
from bridge.captioning.services import Services
from bridge.errors import ImageError
from bridge.images import sources
from bridge.images.limits import ImageLimits
from bridge.images.prepare import Prepared, prepare
from bridge.images.sources import Source
from providers.base import ImageProfile

T = TypeVar("T", str, bytes)
_QUICK = 256 * 1024  # bytes that are read in less time than others would notice


class Pictures:
    """A request's picture in every form its targets want."""

    def __init__(self, source: Source, options: CaptionOptions, services: Services) -> None:
        self._source = source
        self._resize = options.resize_resolution
        self._limits = services.limits
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
        return await _outcome(self._prepared[key])


async def _outcome(task: asyncio.Task[Prepared]) -> Prepared:
    """What the task ends in. Its own ImageError is not raised here: it would keep this frame, which holds the task."""
    await asyncio.wait([task])
    failure = task.exception()
    if isinstance(failure, ImageError):
        raise copy(failure)
    return task.result()


def _look(task: asyncio.Task[Prepared]) -> None:
    """A failure that comes when everybody who waited was cancelled is nobody's; asyncio would log it."""
    if not task.cancelled():
        task.exception()


async def acquire(options: CaptionOptions, upload: bytes | None, services: Services) -> Source:
    """The picture's bytes, their header checked. Raises ImageError."""
    limits, ref = services.limits, options.image
    if upload is not None or ref is None:
        return await _read(sources.from_upload, upload or b"", limits)
    if ref.path is not None:
        return await sources.from_path(ref.path, services.settings.workspace, limits)
    if ref.url is not None:
        return await sources.from_url(ref.url, services.fetcher, limits)
    return await _read(sources.from_base64, ref.base64 or "", limits)


async def _read(reader: Callable[[T, ImageLimits], Source], given: T, limits: ImageLimits) -> Source:
    """Read in a thread what takes long."""
    if len(given) < _QUICK:
        return reader(given, limits)
    return await asyncio.to_thread(reader, given, limits)
