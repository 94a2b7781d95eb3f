"""Run a batch: caption many images at the same time, write their outputs, and report what happens as events."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from typing import TypeVar

from bridge.batch.index import Index
from bridge.batch.models import (
    Captioned,
    End,
    Event,
    Failed,
    Failure,
    Finished,
    ImageItem,
    Row,
    Skipped,
    Started,
    Totals,
    Waiting,
)
from bridge.batch.outage import Ended, Outages
from bridge.batch.outputs import remove_failures_of_shards, write_failures
from bridge.batch.resume import Decision, ExistingOutputs, NewCaption, StoredCaption
from bridge.batch.rows import Loaded, images_in_memory, read
from bridge.batch.start import Prepared
from bridge.batch.text import count
from bridge.errors import ImageNotFound
from bridge.run import Progress
from perspectives import Perspective

_STORING = "store"
_IN_FLIGHT = frozenset({"model", "validate", _STORING})
"""Stages of an image that the first interrupt does not cancel."""
_EVENTS = 1000
_THREADS = 40
"""Threads that read images and write outputs, which takes long in an object store."""

Result = TypeVar("Result")

Requested = dict[Perspective, tuple[str, ...]]
"""The captions to make of an image: for each perspective, the formats of the sidecars to write."""
Decisions = dict[Perspective, Decision]
Done = tuple[ImageItem, Requested, list[Row]]
"""An image and its new rows, which are to be stored."""


class Batch:
    """One run. Iterate `events`; `stop` ends it after the calls in flight."""

    def __init__(self, prepared: Prepared) -> None:
        self._job, self._options, self._listing = prepared.job, prepared.job.options, prepared.listing
        self._folder, self._outputs = prepared.folder, prepared.outputs
        self._index = Index(prepared.folder, is_overwriting=self._options.existing == "overwrite")
        self._existing = ExistingOutputs(prepared.job, self._index, prepared.outputs)
        self._selected = prepared.items
        self._items: Iterator[ImageItem] = iter(self._selected)
        self._workers = images_in_memory(self._options.concurrency, self._job.engine.servers)
        self._tasks: list[asyncio.Task[None]] = []
        self._stages: dict[int, dict[str, str]] = {}
        self._events: asyncio.Queue[Event | None] = asyncio.Queue(_EVENTS)
        self._totals = Totals()
        self._failures = prepared.failures
        self._stopping = False
        self._end: tuple[End, str] = ("done", "")
        self._outages = Outages(prepared.job, self._events.put)
        self._threads = ThreadPoolExecutor(_THREADS, "batch")

    async def events(self) -> AsyncGenerator[Event, None]:
        """Run, and yield the events; the last one is Finished. Raises BatchError if another run uses the folder."""
        task = asyncio.create_task(self._run())
        try:
            while (event := await self._events.get()) is not None:
                yield event
            await task
        finally:
            task.cancel()
            reader = asyncio.create_task(self._discard_events())
            await asyncio.gather(task, return_exceptions=True)
            reader.cancel()

    async def _discard_events(self) -> None:
        """Read the events that a run reports at its end, so that it does not wait for room in the queue."""
        while True:
            await self._events.get()

    def stop(self, end: End = "interrupted", reason: str = "Interrupted.") -> None:
        """Start no more calls, and end when the calls in flight have ended."""
        if self._stopping:
            return
        self._end, self._stopping = (end, reason), True
        for number, task in enumerate(self._tasks):
            if not self._is_calling(number):
                task.cancel()

    async def _run(self) -> None:
        start = time.monotonic()
        try:
            try:
                await self._write_outputs()
            except OSError as error:
                self._end = unwritable(error)
            self._totals.seconds = round(time.monotonic() - start, 3)
            end, reason = self._end
            if end == "budget":  # the calls that were in flight count too
                reason = self._reached_limit() or reason
            await self._events.put(Finished(self._totals, end, reason))
        finally:
            self._threads.shutdown(wait=False)
            await self._events.put(None)

    async def _write_outputs(self) -> None:
        """Handle every image, then write the tables. Raises OSError, and BatchError if another run has the folder."""
        with ExitStack() as stack:
            await self._in_thread(stack.enter_context, self._index)
            names = tuple(each.name for each in self._job.perspectives)
            images, ignored = len(self._selected), dict(self._listing.ignored)
            await self._events.put(
                Started(images * len(names), images, names, self._folder.url, self._workers, ignored)
            )
            await self._handle_images()
            await self._in_thread(self._finish)

    async def _in_thread(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Call a function in a thread. A task that is cancelled waits for its end, because it may use the index."""
        call = asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            await asyncio.wait([call])
            raise

    async def _handle_images(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._tasks += [group.create_task(self._work(number)) for number in range(self._workers)]

    def _finish(self) -> None:
        """Write the list of failures and the tables, also after an early end. Raises OSError."""
        write_failures(self._folder, self._failures.values())
        self._outputs.write_tables(self._listing.items, self._index)
        if self._end[0] == "done":
            remove_failures_of_shards(self._folder)
            self._index.join()

    async def _work(self, number: int) -> None:
        """Handle images until none is left."""
        done: list[Done] = []
        while (item := None if self._stopping else next(self._items, None)) or done:
            try:
                done = await self._image(item, done, number)
            except Ended as ended:
                done = []
                self.stop(ended.end, str(ended))
            except OSError as error:
                done = []
                self.stop(*unwritable(error))
        self._wait(number, "")

    async def _image(self, item: ImageItem | None, done: list[Done], number: int) -> list[Done]:
        """Store the rows of the image before. Then skip, restore or caption each row of `item`, and return its rows.

        `done`: the image before, if any. One call of a thread stores it and reads `item`, because a second call would
        take 6 % more CPU. Raises Ended and OSError.
        """
        if done:
            self._stages[number] = {"": _STORING}
        else:
            self._wait(number, "image")
        try:
            decisions, loaded = await self._record(done, item)
        finally:
            self._stages.pop(number, None)
        if item is None:
            return []
        requested: Requested = {}
        for perspective, decision in decisions.items():
            match decision:
                case NewCaption():
                    requested[perspective] = decision.formats
                case StoredCaption():
                    self._totals.restored += 1
                    await self._events.put(decision.event)
                case Skipped():
                    self._totals.skipped += 1
                    await self._events.put(decision)
        if not requested:
            self._failures.pop(item.key, None)
            return []
        if self._stopping:
            return []
        if name := self._outputs.too_long(item.key):
            failure = Failure(item.key, "output_name_too_long", f"The sidecar's name '{name}' is too long for a file.")
            return [(item, requested, [Row(item.key, each.name, failure=failure) for each in requested])]
        return await self._caption(item, requested, loaded, number)

    async def _caption(self, item: ImageItem, requested: Requested, loaded: Loaded | None, number: int) -> list[Done]:
        """Caption an image, and return its rows. If the run ends before, store them. Raises Ended and OSError."""
        rows: list[Row] = []
        done: list[Done] = [(item, requested, rows)]
        try:
            await self._outages.caption(item, tuple(requested), rows, partial(self._report, number), loaded)
        except (Ended, asyncio.CancelledError):
            if rows:
                self._stages[number] = {"": _STORING}
                await self._record(done)
            raise
        return done

    async def _record(self, done: list[Done], item: ImageItem | None = None) -> tuple[Decisions, Loaded | None]:
        """Store the rows of images and report them, and decide about `item`. Raises Ended and OSError."""
        decided = await self._in_thread(self._store_and_decide, done, item)
        await self._report_rows(done)
        if isinstance(decided, OSError):
            raise decided
        return decided

    async def _report_rows(self, done: list[Done]) -> None:
        """Count and report the rows of images. Raises Ended if a limit is reached."""
        for item, _, rows in done:
            failures = [row.failure for row in rows if row.failure is not None]
            for row in rows:
                self._totals.add(row)
                await self._events.put(Captioned(row, item.url) if row.failure is None else Failed(row, item.url))
            self._failures.pop(item.key, None)
            self._failures |= {failure.path: failure for failure in failures}
        if done and (reason := self._reached_limit()):
            raise Ended("budget", reason)

    def _store_and_decide(self, done: list[Done], item: ImageItem | None) -> tuple[Decisions, Loaded | None] | OSError:
        """Store the rows of images, then decide about `item`.

        If a file cannot be read or written, return the error, and keep in `done` only the images that were stored.
        """
        stored = 0
        try:
            for _, requested, rows in done:
                formats = {each.name: sidecars for each, sidecars in requested.items()}
                for row in rows:
                    if row.failure is None:
                        self._store(row, formats[row.perspective])
                stored += 1
            return self._decide(item) if item else ({}, None)
        except OSError as error:
            del done[stored:]
            return error

    def _decide(self, item: ImageItem) -> tuple[Decisions, Loaded | None]:
        """Decide whether each row is skipped, restored or captioned, and restore rows from the index.

        If any row needs a caption, read the image. Raises OSError.
        """
        decisions = {each: self._existing.decide(item, each) for each in self._job.perspectives}
        for decision in decisions.values():
            if isinstance(decision, StoredCaption):
                self._store(decision.row, decision.formats)
        is_requested = any(isinstance(decision, NewCaption) for decision in decisions.values())
        return decisions, self._read_ahead(item) if is_requested else None

    def _read_ahead(self, item: ImageItem) -> Loaded | None:
        """Read an image before it is captioned. If that fails, the caption reports it."""
        with suppress(ImageNotFound):
            return None if item.is_on_web else read(item, self._job.services)
        return None

    def _store(self, row: Row, formats: tuple[str, ...]) -> None:
        """Add a row to the index, then write its sidecars. Raises OSError."""
        text = self._existing.new_text(row)
        self._index.append(row)
        self._outputs.write(row, formats, text)

    def _reached_limit(self) -> str:
        """Return a sentence if the cost or the number of failures reached its limit, otherwise ""."""
        totals, options = self._totals, self._options
        if options.max_cost is not None and totals.captioned and totals.cost is None:
            return "The captions have no known price. Use --limit instead of --max-cost."
        if options.max_cost is not None and (totals.cost or 0.0) >= options.max_cost:
            return f"The captions have cost ${totals.cost or 0.0:.4g} (--max-cost {options.max_cost:g})."
        if options.max_failures is not None and totals.failed >= options.max_failures:
            return f"{count(totals.failed, 'failed caption')} (--max-failures {options.max_failures})."
        return ""

    def _report(self, number: int, event: object) -> None:
        """Report a stage of the image that a worker captions."""
        if isinstance(event, Progress):
            self._wait(number, event.stage, event.detail, event.perspective)

    def _wait(self, number: int, stage: str, detail: str = "", perspective: str = "") -> None:
        """Report what a worker waits for, "" for nothing. If the run is to stop, cancel a worker that begins to wait.

        `perspective`: the one that is in this stage, "" for all of the image.
        """
        stages = self._stages.get(number, {}) if perspective else {}
        self._stages[number] = {**stages, perspective: stage}
        if not self._events.full():
            self._events.put_nowait(Waiting(number, stage, detail))
        if self._stopping and not self._is_calling(number):
            self._tasks[number].cancel()

    def _is_calling(self, number: int) -> bool:
        """Return whether a worker has a call in flight, or validates its answer."""
        return not _IN_FLIGHT.isdisjoint(self._stages.get(number, {}).values())


def unwritable(error: OSError) -> tuple[End, str]:
    """Return why a run ends if its output cannot be written: as a code, and as a sentence."""
    return "output", f"'{error.filename or 'The output'}' cannot be written: {error.strerror or error}."
