"""The pool of image workers (`bridge.images.worker`), used by one event loop."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from math import ceil
from pathlib import Path
from typing import Any, Self
from weakref import WeakValueDictionary

from bridge.errors import ImageError, ImageTooLarge, InvalidImage
from bridge.images.job import LENGTHS, Job, Result, head_of_frame, parse_result
from bridge.images.limits import MIB, Rejection

_ENVIRONMENT = ("LD_LIBRARY_PATH", "PYTHONHOME")  # variables that an interpreter may need; none is a key
_ROOT = Path(__file__).parents[2]
# Without these thresholds, glibc keeps the memory of large images (measured: 448 MB after an AVIF). Some memory (8 MB,
# and one block of 16 MB in Pillow) is kept, because page faults took 6 ms for a photo of 12 megapixels.
_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(4 * MIB), "MALLOC_TRIM_THRESHOLD_": str(8 * MIB), "PILLOW_BLOCKS_MAX": "1"}
START_SECONDS = 20.0
_READ_BUFFER = MIB
# Exceptions of reading a result: the pipe ended, time ran out, or the bytes are not a result.
_BROKEN = (EOFError, OSError, ValueError, TypeError, KeyError)


def image_error(kind: Rejection, message: str) -> ImageError:
    """Return the exception that is reported to callers."""
    return InvalidImage(message) if kind == "invalid_image" else ImageTooLarge(message)


class WorkerFailed(RuntimeError):
    """An image worker did not start: the installation is broken."""

    def __init__(self) -> None:
        command = "python -m bridge.images.worker 1073741824 20 </dev/null"
        super().__init__(f"The image worker did not start. `{command}` shows why.")


class _WorkerGone(WorkerFailed):
    """The worker process ended before it received the job."""


class _Worker:
    """One process, which handles one job at a time."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._jobs, self._results = process, process.stdin, process.stdout

    @classmethod
    async def start(cls, memory: int, seconds: float) -> Self:
        """Start a process and wait until it is ready. `seconds`: CPU time for each job. Raises WorkerFailed."""
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        command = (sys.executable, "-P", "-m", "bridge.images.worker", str(memory), str(ceil(seconds)))
        environment |= {**_ALLOCATOR, "PYTHONPATH": str(_ROOT)}
        pipes: dict[str, Any] = {"stdin": PIPE, "stdout": PIPE, "stderr": DEVNULL, "limit": _READ_BUFFER}
        try:
            process = await asyncio.create_subprocess_exec(*command, env=environment, **pipes)
        except OSError as error:  # no permission, no memory or no free process
            raise WorkerFailed from error
        worker = cls(process)
        try:
            async with asyncio.timeout(START_SECONDS):
                await worker._result()
        except BaseException as error:
            await worker.end()
            if isinstance(error, _BROKEN):
                raise WorkerFailed from error
            raise
        return worker

    @property
    def is_alive(self) -> bool:
        """Return False if the process is known to have ended."""
        return self._process.returncode is None and not self._results.at_eof()

    async def run(self, job: Job, data: bytes) -> tuple[Result, bytes]:
        """Send a job and return its result. Raises _WorkerGone if the process had died, or EOFError or OSError."""
        self._jobs.write(head_of_frame(job, len(data)))
        self._jobs.write(data)
        with suppress(ConnectionError):
            await self._jobs.drain()
        if self._jobs.is_closing():
            raise _WorkerGone
        return await self._result()

    async def _result(self) -> tuple[Result, bytes]:
        text_size, data_size = LENGTHS.unpack(await self._results.readexactly(LENGTHS.size))
        text = await self._results.readexactly(text_size)
        return parse_result(text), await self._results.readexactly(data_size)

    async def end(self) -> None:
        """Kill the process, and wait until it has ended and its pipes are closed."""
        with suppress(ProcessLookupError):
            self._process.kill()
        self._jobs.close()
        with suppress(OSError):
            await self._jobs.wait_closed()
        with suppress(OSError):
            while await self._results.read(_READ_BUFFER):
                pass
        await self._process.wait()


class DecoderPool:
    """Runs jobs in up to `workers` processes, which start on demand. Waiting callers are served in turn.

    `memory`: bytes that a process may allocate beyond its size at start. `seconds`: time limit of one job. A process is
    killed after this time, or if the job is cancelled.
    """

    def __init__(self, workers: int, memory: int, seconds: float) -> None:
        self._memory, self._seconds = memory, seconds
        self._slots = asyncio.Semaphore(workers)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._idle: list[_Worker] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Start the first worker in the background, so that the first job does not wait for it."""
        self._in_background(self._warm_up())

    async def run(self, job: Job, data: bytes, caller: str = "") -> tuple[Result, bytes]:
        """Run a job of `caller`. With `job.verify`, the returned bytes are empty. Raises ImageError, WorkerFailed."""
        async with self._slot(caller):
            try:
                result, encoded = await self._run(await self._acquire(), job, data)
            except _WorkerGone:  # the worker died while it was idle
                result, encoded = await self._run(await self._new(), job, data)
        if result.error is not None:
            raise image_error(result.error, result.message)
        return result, encoded

    @asynccontextmanager
    async def _slot(self, caller: str) -> AsyncIterator[None]:
        """Wait for a slot. Only one job of each caller waits for the semaphore, so callers are served in turn."""
        async with self._turns.setdefault(caller, asyncio.Lock()):
            await self._slots.acquire()
        try:
            yield
        finally:
            self._slots.release()

    async def _run(self, worker: _Worker, job: Job, data: bytes) -> tuple[Result, bytes]:
        usable = False
        try:
            async with asyncio.timeout(self._seconds):
                result, encoded = await worker.run(job, data)
            usable = result.error != "out_of_memory"
        except TimeoutError:
            raise ImageTooLarge(f"The image took longer than {self._seconds:g} seconds to decode.") from None
        except _BROKEN:
            raise InvalidImage("The image could not be decoded: its decoder failed.") from None
        finally:
            if usable:
                self._idle.append(worker)
            else:
                self._in_background(worker.end())
        return result, encoded

    async def aclose(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)  # uvloop leaks a process whose start is cancelled
        await asyncio.gather(*(worker.end() for worker in self._idle))

    async def _warm_up(self) -> None:
        with suppress(WorkerFailed):  # the first job raises the same error
            async with self._slot(""):
                self._idle.append(await self._new())

    async def _new(self) -> _Worker:
        return await _Worker.start(self._memory, self._seconds)

    async def _acquire(self) -> _Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.is_alive:
                return worker
            self._in_background(worker.end())
        return await self._new()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
