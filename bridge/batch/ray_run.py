"""Run a batch on a Ray cluster: Ray Data captions blocks of images in actors, and this process writes the rows."""

import asyncio
import itertools
import json
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from threading import Thread
from typing import Any

from bridge.batch.models import End, ImageItem, Row
from bridge.batch.outage import Ended
from bridge.batch.ray_cluster import Cluster
from bridge.batch.ray_worker import Captioner, read_row
from bridge.batch.rows import Loaded, images_in_memory
from bridge.batch.run import Asked, Batch, unwritable
from bridge.batch.start import Prepared

_IMAGES = 64
"""Images of a block. Ray's own work for a block is 28 ms of CPU (measured, Ray 2.60)."""
Records = list[dict[str, Any]]


class RayBatch(Batch):
    """A batch on a Ray cluster. `stop` ends the run after the calls in flight."""

    def __init__(self, prepared: Prepared, cluster: Cluster) -> None:
        super().__init__(prepared)
        self._cluster, self._ray = cluster, cluster.ray
        self._pending: dict[str, tuple[ImageItem, Asked]] = {}
        self._begun: Any = None
        self._ended: set[int] = set()
        self._numbers = itertools.count()

    def stop(self, end: End = "interrupted", reason: str = "Interrupted.") -> None:
        """Begin no more images, and end when the running blocks have ended."""
        super().stop(end, reason)
        if self._begun is None:
            self._begun = self._cluster.control.stop.remote()

    def _read_ahead(self, item: ImageItem) -> Loaded | None:
        return None  # the actors read the images

    def _report(self, number: int, event: object, *, free: bool = False) -> None:
        """Report nothing. The control reports the stages of the actors."""

    async def _caption(self, item: ImageItem, asked: Asked, loaded: Loaded | None, number: int) -> None:
        if asked:
            self._pending[item.key] = item, asked

    async def _handle_images(self) -> None:
        """Skip or restore images that have outputs, then caption the others. Repeat images whose rows were lost."""
        await super()._handle_images()
        self._tasks.clear()
        events = asyncio.create_task(self._forward())
        try:
            while self._pending and not self._stopping:
                before = len(self._pending)
                await self._caption_pending()
                if len(self._pending) == before:
                    self.stop("provider", f"The cluster returned no caption of {before} images.")
        finally:
            events.cancel()

    async def _forward(self) -> None:
        """Pass on the events of the actors."""
        while True:
            await self._events.put(await self._cluster.control.next_event.remote())

    async def _caption_pending(self) -> None:
        blocks: asyncio.Queue[Records | Exception | None] = asyncio.Queue(self._cluster.actors)
        Thread(target=self._read, args=(asyncio.get_running_loop(), blocks), daemon=True).start()
        while (records := await blocks.get()) is not None:
            if isinstance(records, Exception):
                lines = str(records).strip().splitlines()
                self.stop("provider", f"The Ray cluster ended the run: {lines[-1] if lines else records!r}")
            else:
                await asyncio.gather(*map(self._record_image, records))

    def _read(self, loop: asyncio.AbstractEventLoop, blocks: "asyncio.Queue[Records | Exception | None]") -> None:
        """Put the records of each block in the queue, then None. Run in a separate thread, because Ray blocks."""

        def put(records: Records | Exception | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: the run was cancelled
                asyncio.run_coroutine_threadsafe(blocks.put(records), loop).result()

        try:
            for records in self._blocks():
                self._ended |= {record["block"] for record in records if "block" in record}
                put(records)
                if self._begun is not None and self._ray.get(self._begun) <= self._ended:
                    break
        except (self._ray.exceptions.RayError, RuntimeError, ValueError) as error:
            put(error)
        finally:
            put(None)

    def _blocks(self) -> Iterator[Records]:
        """Caption the pending images in blocks, and yield the records of each block."""
        data, options = self._ray.data, self._options.ray
        assert options is not None
        images = [
            json.dumps({"item": asdict(item), "perspectives": [each.name for each in asked]})
            for item, asked in self._pending.values()
        ]
        rows = [{"block": next(self._numbers), "image": image} for image in images]
        actors = min(self._cluster.actors, len(rows))
        places = max(1, self._options.concurrency // self._cluster.actors)
        at_once = images_in_memory(places, self._job.engine.servers)
        dataset = data.from_items(rows, override_num_blocks=max(actors, math.ceil(len(rows) / _IMAGES))).map_batches(
            Captioner,
            fn_constructor_args=(self._cluster.control,),
            batch_size=_IMAGES if options.actor_gpus else None,  # Ray requires a number with GPUs
            num_cpus=options.actor_cpus,
            num_gpus=options.actor_gpus or None,
            compute=data.ActorPoolStrategy(
                size=actors,
                # One block more than the images in memory, so that the end of a block leaves no place free.
                max_concurrent_calls_per_actor=1 + math.ceil(at_once / _IMAGES),
                enable_true_multi_threading=True,
            ),
        )
        for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            yield list(map(json.loads, batch.column("record").to_pylist()))

    async def _record_image(self, record: dict[str, Any]) -> None:
        """Write the rows of an image, unless they are written already. The last record of a block may end the run."""
        if "block" in record:
            if "end" in record:
                self.stop(record["end"], record["reason"])
            return
        item, asked = self._pending.pop(record["key"], (None, {}))
        if item is None:
            return
        rows: list[Row] = list(map(read_row, record["rows"]))
        try:
            await self._record(item, asked, rows)
        except Ended as ended:
            self.stop(ended.end, str(ended))
        except OSError as error:
            self.stop(*unwritable(error))
