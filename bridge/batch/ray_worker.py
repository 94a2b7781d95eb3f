"""The classes that run on the nodes of a Ray cluster: the captioner of image blocks, and the control of a run.

These are plain classes. `ray_run` makes actors of them.
"""

import asyncio
import json
import os
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field, replace
from threading import Thread
from typing import Any

import ray

from bridge.batch.inputs import read_image
from bridge.batch.models import Failure, ImageItem, Paused, Resumed, Row, Waiting
from bridge.batch.options import Options
from bridge.batch.outage import Ended, Outages
from bridge.batch.rows import Job, images_in_memory, loop_factory, open_job
from bridge.captioning.services import open_services
from bridge.settings import Settings
from bridge.version import __version__

Block = dict[str, Any]
"""A block of a Ray dataset: columns by name."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The data that an actor needs to start. `options.concurrency`: the limit of one actor."""

    options: Options
    settings: Settings
    environment: dict[str, str] = field(repr=False)


class Control:
    """Connects the processes of a run. It runs as one actor beside the driver, on an event loop.

    Keys travel in `setup`, as the value of a call. They are not in the runtime environment, because Ray logs its
    variables (ray-project/ray#28276).
    """

    def __init__(self) -> None:
        self._setup: Setup | None = None
        self._stopping = asyncio.Event()
        self._started: set[int] = set()
        self._workers: dict[str, int] = {}
        self._paused: set[str] = set()
        self._events: asyncio.Queue[Paused | Resumed | Waiting] = asyncio.Queue()

    async def configure(self, setup: Setup) -> None:
        """Store the data that actors need to start. Call this before every other method."""
        self._setup = setup

    async def setup(self) -> Setup | None:
        """Return the data that actors need to start."""
        return self._setup

    async def begin(self, block: int, worker: str) -> bool:
        """Record that a block is begun. Return whether its images are to be captioned."""
        if self._stopping.is_set():
            return False
        self._started.add(block)
        self._events.put_nowait(Waiting(self._workers.setdefault(worker, len(self._workers)), "model"))
        return True

    async def emit(self, event: Paused | Resumed, worker: str) -> None:
        """Report when the first worker pauses, and when no worker is paused any more."""
        before = bool(self._paused)
        (self._paused.add if isinstance(event, Paused) else self._paused.discard)(worker)
        if before != bool(self._paused):
            self._events.put_nowait(event)

    async def next_event(self) -> Paused | Resumed | Waiting:
        """Wait for an event, and return it."""
        return await self._events.get()

    async def stop(self) -> set[int]:
        """Begin no more images. Return the blocks that were begun."""
        self._stopping.set()
        return self._started

    async def stopped(self) -> None:
        """Wait until `stop` is called."""
        await self._stopping.wait()


class Captioner:
    """Captions blocks of images in a Ray actor, which opens the services once. Calls may come from several threads."""

    def __init__(self, control: Any) -> None:
        self._control, self._worker = control, ray.get_runtime_context().get_actor_id()
        self._loop = (loop_factory() or asyncio.new_event_loop)()
        Thread(target=self._loop.run_forever, daemon=True).start()
        self._setup: Setup = ray.get(control.setup.remote())
        os.environ.update(self._setup.environment)
        self._stack = AsyncExitStack()
        self._job: Job = self._run(opened(self._setup, self._stack))
        self._outages = Outages(self._job, self._emit)
        self._room = asyncio.Semaphore(images_in_memory(self._setup.options.concurrency, self._job.engine.servers))
        self._stopped = asyncio.run_coroutine_threadsafe(self._wait_for_stop(), self._loop)

    def __call__(self, block: Block) -> Block:
        """Caption the images of a block. Return their rows, and a last record with the number of the block."""
        number = int(block["block"][0])
        end: dict[str, Any] = {"block": number}
        records: list[dict[str, Any]] = []
        if ray.get(self._control.begin.remote(number, self._worker)):
            try:
                self._run(self._caption(list(map(json.loads, block["image"])), records))
            except ExceptionGroup as group:
                ended = group.subgroup(Ended)
                if ended is None:
                    raise
                first = ended.exceptions[0]
                assert isinstance(first, Ended)
                end |= {"end": first.end, "reason": str(first)}
        return {"record": [json.dumps(record) for record in (*records, end)]}

    def _run(self, work: Awaitable[Any]) -> Any:
        async def run() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    async def _caption(self, images: list[dict[str, Any]], records: list[dict[str, Any]]) -> None:
        """Caption images at the same time, until the run is to stop. Their rows are added to `records`.

        Raises a group of Ended.
        """

        async def caption(image: dict[str, Any]) -> None:
            item, names = read_item(image["item"]), image["perspectives"]
            asked = tuple(each for each in self._job.perspectives if each.name in names)
            async with self._room:
                if self._stopped.done():
                    return
                try:
                    rows = await self._outages.caption(item, asked)
                except Ended as ended:
                    records.extend([{"key": item.key, "rows": list(map(asdict, ended.rows))}] if ended.rows else [])
                    raise
            records.append({"key": item.key, "rows": list(map(asdict, rows))})

        async with asyncio.TaskGroup() as group:
            for image in images:
                group.create_task(caption(image))

    async def _wait_for_stop(self) -> None:
        await self._control.stopped.remote()

    async def _emit(self, event: Paused | Resumed) -> None:
        self._control.emit.remote(event, self._worker)


async def opened(setup: Setup, stack: AsyncExitStack) -> Job:
    """Open the services and the job of a process, until `stack` is closed."""
    services = open_services(setup.settings, max_concurrency=setup.options.concurrency)
    return await stack.enter_async_context(open_job(setup.options, await stack.enter_async_context(services)))


def check_node(control: Any, url: str) -> tuple[str, str, list[str], str]:
    """Return the properties of a node that the driver compares before the first call.

    These are the version of the bridge, the target, the digests of the perspectives, and the reason why the image at
    `url` cannot be read, or "".
    """
    setup: Setup = ray.get(control.setup.remote())
    os.environ.update(setup.environment)

    async def job() -> tuple[str, list[str]]:
        async with AsyncExitStack() as stack:
            job = await opened(setup, stack)
            return job.engine.target, [each.digest for each in job.perspectives]

    unreadable = ""
    try:
        if url:
            read_image(url, setup.settings.max_image_bytes)
    except OSError as error:
        unreadable = error.strerror or str(error) or type(error).__name__
    return __version__, *asyncio.run(job()), unreadable


def read_item(fields: dict[str, Any]) -> ImageItem:
    """Return an image from its JSON form."""
    return ImageItem(**{**fields, "context": tuple(fields["context"])})


def read_row(fields: dict[str, Any]) -> Row:
    """Return a row from its JSON form."""
    row = Row(**fields)
    return replace(row, failure=Failure(**fields["failure"])) if fields["failure"] else row
