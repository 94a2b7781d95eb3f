"""The pool of image workers (`bridge.images.worker`), used by one event loop."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import Self

from bridge.errors import ImageError, ImageTooLarge, InvalidImage, UnsupportedImage
from bridge.images.job import LENGTHS, Job, Result, head_of_frame, parse_result
from bridge.images.limits import MIB, Rejected, Rejection

_ERRORS: dict[Rejection, type[ImageError]] = {
    "invalid_image": InvalidImage,
    "image_too_large": ImageTooLarge,
    "unsupported_image": UnsupportedImage,
    "out_of_memory": ImageTooLarge,
}
# What an interpreter may need to start. No key is among it.
_ENVIRONMENT = ("LD_LIBRARY_PATH", "PYTHONHOME", "SYSTEMROOT")
_ROOT = Path(__file__).parents[2]
# glibc then returns the memory of large images to the system (measured: 448 MB stayed after an AVIF); Pillow keeps one
# block of 16 MB, or each photo costs 5 ms of page faults.
_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(MIB), "PILLOW_BLOCKS_MAX": "1"}
_READ_BUFFER = MIB


def heif_is_installed() -> bool:
    """Return whether the package that decodes HEIC is installed."""
    return find_spec("pillow_heif") is not None


def image_error(rejected: Rejected) -> ImageError:
    """Convert a rejection to the exception that is reported to callers."""
    return _ERRORS[rejected.kind](rejected.message)


class WorkerFailed(RuntimeError):
    """An image worker did not start: the installation is broken."""

    def __init__(self) -> None:
        super().__init__("The image worker did not start. `python -m bridge.images.worker 0 1` shows why.")


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
        """Start a process and wait until it is ready. Raises WorkerFailed."""
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", "bridge.images.worker", str(memory), str(ceil(seconds))),
            env={**environment, **_ALLOCATOR, "PYTHONPATH": str(_ROOT)},
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            limit=_READ_BUFFER,
        )
        worker = cls(process)
        try:
            await worker._result()
        except (EOFError, OSError) as error:
            await worker.end()
            raise WorkerFailed from error
        except asyncio.CancelledError:
            await worker.end()
            raise
        return worker

    @property
    def is_alive(self) -> bool:
        """Return whether the process runs, as far as is known."""
        return self._process.returncode is None and not self._results.at_eof()

    async def run(self, job: Job, data: bytes) -> tuple[Result, bytes]:
        """Send a job and wait for its result.

        Raises _WorkerGone when the process died before it received the job, EOFError or OSError when it dies later.
        """
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
        """Kill the process and wait until it and its pipes are gone."""
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
    """Runs jobs in up to `workers` processes, which are started when needed. Jobs wait in order of arrival.

    `memory`: bytes that a process may allocate beyond its size at start. `seconds`: time limit of one job. A process is
    killed if its job takes longer, or if the caller of the job is cancelled.
    """

    def __init__(self, workers: int, memory: int, seconds: float) -> None:
        self._memory, self._seconds = memory, seconds
        self._slots = asyncio.Semaphore(workers)
        self._idle: list[_Worker] = []
        self._early: asyncio.Task[_Worker] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Start the first worker in the background, so that the first job does not have to wait for it."""
        if self._early is None and not self._idle:
            self._early = asyncio.create_task(self._new())

    async def run(self, job: Job, data: bytes) -> tuple[Result, bytes]:
        """Run a job in a worker. The returned bytes are empty if `job.verify` succeeded, because the input is kept.

        Raises InvalidImage, ImageTooLarge, UnsupportedImage and WorkerFailed.
        """
        async with self._slots:
            try:
                result, encoded = await self._run(await self._acquire(), job, data)
            except _WorkerGone:  # it died while it was idle
                result, encoded = await self._run(await self._new(), job, data)
        if result.error is not None:
            raise image_error(Rejected(result.error, result.message))
        return result, encoded

    async def _run(self, worker: _Worker, job: Job, data: bytes) -> tuple[Result, bytes]:
        usable = False
        try:
            async with asyncio.timeout(self._seconds):
                result, encoded = await worker.run(job, data)
            usable = result.error != "out_of_memory"
        except TimeoutError:
            raise ImageTooLarge(f"The image took longer than {self._seconds:g} seconds to decode.") from None
        except (EOFError, OSError, ValueError, TypeError, KeyError):
            raise InvalidImage("The image could not be decoded: its decoder failed.") from None
        finally:
            if usable:
                self._idle.append(worker)
            else:
                self._end(worker)
        return result, encoded

    async def aclose(self) -> None:
        """End every worker."""
        if self._early is not None:
            with suppress(WorkerFailed):  # not cancelled: uvloop does not close a process whose start is cancelled
                self._idle.append(await self._early)
        while self._idle:
            self._end(self._idle.pop())
        await asyncio.gather(*self._ending)

    async def _new(self) -> _Worker:
        return await _Worker.start(self._memory, self._seconds)

    async def _acquire(self) -> _Worker:
        early, self._early = self._early, None
        if early is not None:
            try:
                return await asyncio.shield(early)
            except asyncio.CancelledError:
                self._early = early
                raise
        while self._idle:
            worker = self._idle.pop()
            if worker.is_alive:
                return worker
            self._end(worker)
        return await self._new()

    def _end(self, worker: _Worker) -> None:
        task = asyncio.create_task(worker.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
