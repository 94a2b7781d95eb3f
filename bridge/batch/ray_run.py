"""Run a batch on a Ray cluster: Ray Data captions blocks of images in actors, and this process writes the rows."""

import asyncio
import itertools
import logging
import math
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Thread
from typing import Any, ClassVar

import ray

from bridge.batch.models import Actors, End, ImageItem
from bridge.batch.outage import Ended
from bridge.batch.ray_cluster import Cluster
from bridge.batch.ray_worker import Block, Captioner, Captions
from bridge.batch.rows import Loaded, images_in_memory
from bridge.batch.run import Batch, Done, Requested, unwritable
from bridge.batch.start import Prepared

_IMAGES = 64
"""Images of a block. Ray's own work for a block is 28 ms of CPU (measured, Ray 2.60)."""
_STATISTICS_SECONDS = 1.0


class RayBatch(Batch):
    """A batch on a Ray cluster. `stop` ends the run after the calls in flight."""

    def __init__(self, prepared: Prepared, cluster: Cluster) -> None:
        super().__init__(prepared)
        self._cluster = cluster
        self._pending: dict[str, tuple[ImageItem, Requested]] = {}
        self._begun: Any = None
        self._ended: set[int] = set()
        self._numbers = itertools.count()
        self._actors = 0

    def stop(self, end: End = "interrupted", reason: str = "Interrupted.") -> None:
        """Begin no more images, and end when the running blocks have ended."""
        super().stop(end, reason)
        if self._begun is None:
            self._begun = self._cluster.control.stop.remote()

    def _read_ahead(self, item: ImageItem) -> Loaded | None:
        return None  # the actors read the images

    def _wait(self, number: int, stage: str, detail: str = "", perspective: str = "") -> None:
        """Report nothing. The images are in the actors."""

    async def _caption(self, item: ImageItem, requested: Requested, loaded: Loaded | None, number: int) -> list[Done]:
        self._pending[item.key] = item, requested
        return []

    async def _handle_images(self) -> None:
        """Skip or restore images that have outputs, then caption the others. Repeat images whose rows were lost."""
        await super()._handle_images()
        self._tasks.clear()
        loop = asyncio.get_running_loop()
        Statistics.receive = lambda *actors: asyncio.run_coroutine_threadsafe(self._show(*actors), loop)
        events = asyncio.create_task(self._forward())
        try:
            while self._pending and not self._stopping:
                before = len(self._pending)
                await self._caption_pending()
                if len(self._pending) == before:
                    self.stop("provider", f"The cluster returned no caption of {before} images.")
        finally:
            events.cancel()

    async def _show(self, pending: int, restarting: int) -> None:
        await self._events.put(Actors(self._actors - pending - restarting, pending, restarting))

    async def _forward(self) -> None:
        """Pass on the events of the actors."""
        while True:
            await self._events.put(await self._cluster.control.next_event.remote())

    async def _caption_pending(self) -> None:
        results: asyncio.Queue[Captions | Exception | None] = asyncio.Queue(self._cluster.actors)
        Thread(target=self._read, args=(asyncio.get_running_loop(), results), daemon=True).start()
        while (result := await results.get()) is not None:
            if isinstance(result, Exception):
                lines = str(result).strip().splitlines()
                self.stop("provider", f"The Ray cluster ended the run: {lines[-1] if lines else result!r}")
                continue
            done = [
                (*self._pending.pop(key), rows) for key, rows in result.rows.items() if rows and key in self._pending
            ]
            size = max(1, len(done)) if self._folder.is_local else 1  # an object store takes longer than a thread
            parts = (done[start : start + size] for start in range(0, len(done), size))
            await asyncio.gather(*map(self._record_part, parts))
            if result.end:
                self.stop(*result.end)

    def _read(self, loop: asyncio.AbstractEventLoop, results: "asyncio.Queue[Captions | Exception | None]") -> None:
        """Put the captions of each block in the queue, then None. Run in a separate thread, because Ray blocks."""

        def put(result: Captions | Exception | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: the run was cancelled
                asyncio.run_coroutine_threadsafe(results.put(result), loop).result()

        try:
            for captions in self._captions():
                self._ended.add(captions.block)
                put(captions)
                if self._begun is not None and ray.get(self._begun) <= self._ended:
                    break
        except Exception as error:  # noqa: BLE001 (the errors of Ray Data have no common base)
            put(error)
        finally:
            put(None)

    def _captions(self) -> Iterator[Captions]:
        """Caption the pending images in blocks, and yield the captions of each block."""
        data, options = _import_data(), self._options.ray
        assert options is not None
        images = [(item, tuple(each.name for each in requested)) for item, requested in self._pending.values()]
        self._actors = actors = min(self._cluster.actors, len(images))
        size = min(_IMAGES, math.ceil(len(images) / actors))
        blocks = [Block(next(self._numbers), images[start : start + size]) for start in range(0, len(images), size)]
        at_once = images_in_memory(self._cluster.concurrency, self._job.engine.servers)
        rows = [{"block": pickle.dumps(block)} for block in blocks]
        dataset = data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            Captioner,
            fn_constructor_args=(self._cluster.control,),
            batch_size=1,
            num_cpus=self._cluster.cpus,
            num_gpus=options.actor_gpus or None,
            compute=data.ActorPoolStrategy(
                size=actors,
                # One block more than the images in memory, so that the end of a block leaves no place free.
                max_concurrent_calls_per_actor=1 + math.ceil(at_once / _IMAGES),
                enable_true_multi_threading=True,
            ),
        )
        # With a prefetch, as in `iter_rows`, Ray returns a block only when the next one has ended.
        for batch in dataset.iter_batches(batch_size=None, prefetch_batches=0):
            yield from map(pickle.loads, batch["captions"])

    async def _record_part(self, done: list[Done]) -> None:
        """Write the rows of images."""
        try:
            await self._record(done)
        except Ended as ended:
            self.stop(ended.end, str(ended))
        except OSError as error:
            self.stop(*unwritable(error))


class Statistics:
    """Passes on Ray Data's statistics of the actors. Ray Data makes an instance for each execution, and calls it.

    `receive`: called in a thread of Ray Data when a number has changed, with the numbers of actors that are pending
    and restarting. It belongs to the class, because Ray Data also copies the class to the actors.
    """

    receive: ClassVar[Callable[[int, int], object]]

    def __init__(self) -> None:
        self._next, self._last = 0.0, (-1, -1)

    def before_execution_starts(self, executor: Any) -> None:
        """Do nothing. Ray Data calls it."""

    def on_execution_step(self, executor: Any) -> None:
        """Read the statistics, at most once in a second, because they take 0.3 ms."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _STATISTICS_SECONDS
        metrics = executor.get_stats().extra_metrics
        actors = metrics.get("pending_actors", 0), metrics.get("restarting_actors", 0)
        if actors != self._last:
            self._last = actors
            Statistics.receive(*actors)

    def after_execution_succeeds(self, executor: Any) -> None:
        """Do nothing. Ray Data calls it."""

    def after_execution_fails(self, executor: Any, error: Exception) -> None:
        """Do nothing. Ray Data calls it."""


def _import_data() -> Any:
    """Return the module `ray.data`, without its progress bars and its time limit for a block.

    A block takes long if the provider is slow or pauses. The import takes 3 s of CPU, so do the checks first.
    """
    from ray import data

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # its errors are raised too
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = -1  # no limit; 30 minutes by default
    context.custom_execution_callback_classes = [Statistics]
    return data
