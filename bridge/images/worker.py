"""Threads for decoding, as many as there are cores."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar

from bridge.errors import ImageTooLarge

T = TypeVar("T")

THREADS = max(2, os.cpu_count() or 1)
_threads = ThreadPoolExecutor(THREADS, "image")
_slots: RunVar[CapacityLimiter] = RunVar("image_slots")


def slots() -> CapacityLimiter:
    """The running loop's slots: who holds one has a thread to himself."""
    try:
        return _slots.get()
    except LookupError:
        _slots.set(CapacityLimiter(THREADS))
        return _slots.get()


async def in_thread(work: Callable[[], T], seconds: float) -> T:
    """Run `work` in a thread once one is free. Raises ImageTooLarge when it takes longer than `seconds`.

    A thread cannot be stopped: one that overruns, or whose caller has gone, keeps its slot until it is through,
    so that however many pictures are slow, no more than `THREADS` are at work.
    """
    limiter, job, loop = slots(), object(), asyncio.get_running_loop()
    await limiter.acquire_on_behalf_of(job)

    def release(_: Future[T]) -> None:
        with suppress(RuntimeError):  # the loop is closed, and its slots with it
            loop.call_soon_threadsafe(limiter.release_on_behalf_of, job)

    future = _threads.submit(work)
    future.add_done_callback(release)
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.wrap_future(future)
    except TimeoutError as error:
        raise ImageTooLarge(f"The image took longer than {seconds:g} seconds to read.") from error
    finally:
        del future  # its exception's traceback holds this frame, and that the picture
