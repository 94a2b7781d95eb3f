"""The classes that run on the nodes of a Ray cluster: the captioner of image blocks, and the control of a run.

These are plain classes. `ray_run` makes actors of them.
"""

import asyncio
import os
import pickle
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from threading import Thread
from typing import Any, TypeVar

import ray
import uvloop

from bridge.batch.engines import ProviderUnusable
from bridge.batch.folder import BatchError
from bridge.batch.inputs import read_image
from bridge.batch.models import End, ImageItem, Paused, Resumed, Row
from bridge.batch.options import Options
from bridge.batch.outage import Ended, Outages
from bridge.batch.rows import Job, images_in_memory, open_job
from bridge.captioning.services import open_services
from bridge.deadline import Deadline
from bridge.memory import tune_memory
from bridge.run import Run
from bridge.settings import Settings
from bridge.version import __version__

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Block:
    """The images that an actor captions in one call, each with the names of its perspectives."""

    number: int
    images: list[tuple[ImageItem, tuple[str, ...]]]


@dataclass(slots=True)
class Captions:
    """The captions of a block. `rows`: the rows by the image's key. `end`: how and why the run must end, or None."""

    block: int
    rows: dict[str, list[Row]] = field(default_factory=dict)
    end: tuple[End, str] | None = None


@dataclass(frozen=True, slots=True)
class Setup:
    """The data that an actor needs to start. `options.concurrency`: the limit of one actor."""

    options: Options
    settings: Settings
    environment: dict[str, str] = field(repr=False)


class Control:
    """Connects the processes of a run. It runs as one actor beside the driver, on an event loop.

    API keys are passed as part of the return value of `setup`. They are not in the runtime environment, because Ray
    logs its variables (ray-project/ray#28276).
    """

    def __init__(self) -> None:
        self._setup: Setup | None = None
        self._stopping = asyncio.Event()
        self._started: set[int] = set()
        self._paused: set[str] = set()
        self._events: asyncio.Queue[Paused | Resumed] = asyncio.Queue()

    async def configure(self, setup: Setup) -> None:
        """Store the data that actors need to start. Call this before every other method."""
        self._setup = setup

    async def setup(self) -> Setup | None:
        """Return the data that actors need to start."""
        return self._setup

    async def begin(self, block: int) -> bool:
        """Record that a block is begun. Return whether its images are to be captioned."""
        if self._stopping.is_set():
            return False
        self._started.add(block)
        return True

    async def emit(self, event: Paused | Resumed, worker: str) -> None:
        """Report when the first worker pauses, and when no worker is paused any more."""
        before = bool(self._paused)
        (self._paused.add if isinstance(event, Paused) else self._paused.discard)(worker)
        if before != bool(self._paused):
            self._events.put_nowait(event)

    async def next_event(self) -> Paused | Resumed:
        """Wait for an event, and return it."""
        return await self._events.get()

    async def stop(self) -> set[int]:
        """Let the actors begin no more images. Return the numbers of the blocks that were begun."""
        self._stopping.set()
        return self._started

    async def stopped(self) -> None:
        """Wait until `stop` is called."""
        await self._stopping.wait()


class Captioner:
    """Captions blocks of images in a Ray actor, which opens the services once. Calls may come from several threads."""

    def __init__(self, control: Any) -> None:
        self._control, self._worker = control, ray.get_runtime_context().get_actor_id()
        self._loop = uvloop.new_event_loop()
        # AnyIO keeps its threads until the task that the loop was started with ends.
        Thread(target=self._loop.run_until_complete, args=(asyncio.Event().wait(),), daemon=True).start()
        setup: Setup = ray.get(control.setup.remote())
        os.environ.update(setup.environment)
        self._stack = AsyncExitStack()
        self._job = self._run(opened(setup, self._stack))
        self._outages = Outages(self._job, self._emit)
        self._run(self._emit(Resumed()))  # if Ray restarted this actor, it may have been paused; its id is the same
        self._room = asyncio.Semaphore(images_in_memory(setup.options.concurrency, self._job.engine.servers))
        stopping = self._outages.stopping
        self._stopped = control.stopped.remote().future()
        self._stopped.add_done_callback(lambda _: self._loop.call_soon_threadsafe(stopping.set))
        tune_memory()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Caption the images of a block. The batch has one row, with a pickled Block. Return its pickled Captions."""
        block: Block = pickle.loads(batch["block"][0])  # noqa: S301 (from the command that starts this actor)
        captions = Captions(block.number)
        if ray.get(self._control.begin.remote(block.number)):
            self._run(self._caption(block, captions))
        return {"captions": [pickle.dumps(captions)]}

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _caption(self, block: Block, captions: Captions) -> None:
        """Caption the images concurrently, and add their rows to `captions`. When the run must end, begin no more."""

        async def caption(item: ImageItem, names: tuple[str, ...]) -> None:
            perspectives = tuple(each for each in self._job.perspectives if each.name in names)
            async with self._room:
                if self._outages.stopping.is_set():
                    return
                rows = captions.rows[item.key] = []
                try:
                    await self._outages.caption(item, perspectives, rows)
                except Ended as ended:
                    captions.end = captions.end or (ended.end, str(ended))
                    self._outages.stopping.set()

        async with asyncio.TaskGroup() as group:
            for item, names in block.images:
                group.create_task(caption(item, names))

    async def _emit(self, event: Paused | Resumed) -> None:
        self._control.emit.remote(event, self._worker)


async def opened(setup: Setup, stack: AsyncExitStack) -> Job:
    """Open the services and the job of a process, until `stack` is closed."""
    services = open_services(setup.settings, max_concurrency=setup.options.concurrency)
    return await stack.enter_async_context(open_job(setup.options, await stack.enter_async_context(services)))


def check_node(control: Any, url: str) -> tuple[str, str, list[str], str]:
    """Return the properties of a node that the driver compares before the first call.

    These are the version of the bridge, the target, the digests of the perspectives, and the reason why the image at
    `url` cannot be read, or "". Raises ProviderUnusable if the node cannot use the provider, or has not its model.
    Raises BatchError for every other error, because most of ours compose their text, and pickle cannot restore those.
    """
    setup: Setup = ray.get(control.setup.remote())
    os.environ.update(setup.environment)
    try:
        return __version__, *asyncio.run(_target(setup)), _unreadable(url, setup)
    except Exception as error:  # noqa: BLE001 (the driver reports all of them)
        kind = ProviderUnusable if isinstance(error, ProviderUnusable) else BatchError
        raise kind(str(error) or repr(error)) from None


async def _target(setup: Setup) -> tuple[str, list[str]]:
    """Check the provider. Return the target, and the digests of the perspectives."""
    async with AsyncExitStack() as stack:
        job = await opened(setup, stack)
        await job.engine.check(Run(Deadline(job.timeout)))
        return job.engine.target, [each.digest for each in job.perspectives]


def _unreadable(url: str, setup: Setup) -> str:
    """Return the reason why an image cannot be read, or ""."""
    try:
        if url:
            read_image(url, setup.settings.max_image_bytes)
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
    return ""
