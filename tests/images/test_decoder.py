"""The image workers: how jobs and workers end, without an effect on other jobs."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from PIL import Image

from bridge.errors import ImageTooLarge, InvalidImage
from bridge.images import decoder as decoders
from bridge.images.decoder import DecoderPool, WorkerFailed
from bridge.images.job import Job, head_of_frame
from bridge.images.limits import MIB, ImageLimits
from tests.guard import GUARD
from tests.images.samples import MEMORY, SECONDS, photo, saved
from tests.service import ROOT, until
from tests.tools import children_of, read_process

JPEG = Job("image/jpeg", ImageLimits())
PNG = Job("image/png", ImageLimits())
# Decoding 30,000 frames takes several seconds.
LONG = Job("image/gif", ImageLimits(frame=10**9))
FRAMES = saved(
    Image.new("L", (200, 200)), "GIF", save_all=True, append_images=[Image.new("L", (200, 200), n) for n in (9, 99)]
)
MANY_FRAMES = FRAMES[:-1] + FRAMES[FRAMES.index(b"!\xf9\x04") : -1] * 30_000 + b";"


@asynccontextmanager
async def pool(workers: int = 1, memory: int = MEMORY, seconds: float = SECONDS) -> AsyncIterator[DecoderPool]:
    decoder = DecoderPool(workers, memory, seconds)
    try:
        yield decoder
    finally:
        await decoder.aclose()


def processes() -> set[int]:
    """Return the ids of this process's image workers."""
    return {child for child in children_of(os.getpid()) if b"images.worker" in read_process(child, "cmdline")}


def kill(process: int) -> None:
    """Kill a process and block until it has closed its pipes."""
    os.kill(process, signal.SIGKILL)
    until(lambda: b") Z" in (stat := read_process(process, "stat")) or not stat)


def cpu_seconds(process: int) -> float:
    return int((read_process(process, "schedstat") or b"0").split()[0]) / 1e9


async def until_started(count: int = 1) -> set[int]:
    async with asyncio.timeout(GUARD):
        while len(running := processes()) < count:  # noqa: ASYNC110 (a process table has no event)
            await asyncio.sleep(0.01)
    return running


async def until_decoding() -> int:
    """Wait until the only worker runs a job, and return its id."""
    (process,) = await until_started()
    async with asyncio.timeout(GUARD):
        while cpu_seconds(process) < 0.6:  # noqa: ASYNC110 (starting a worker uses less, the job more)
            await asyncio.sleep(0.01)
    return process


async def test_one_worker_runs_jobs_one_by_one_and_ends_with_the_pool() -> None:
    async with pool() as decoder:
        results = await asyncio.gather(*(decoder.run(JPEG, saved(photo(), "JPEG")) for _ in range(4)))
        assert {result.size for result, _ in results} == {(320, 240)}
        assert len(processes()) == 1
    assert not processes()


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGSEGV, signal.SIGXCPU])
async def test_a_worker_that_dies_during_a_job_is_an_invalid_image_and_is_replaced(ending: signal.Signals) -> None:
    async with pool() as decoder:
        job = asyncio.create_task(decoder.run(LONG, MANY_FRAMES))
        process = await until_decoding()
        os.kill(process, ending)
        with pytest.raises(InvalidImage):
            await job
        assert (await decoder.run(JPEG, saved(photo(), "JPEG")))[0].size == (320, 240)
        assert process not in processes()


async def test_a_cancelled_job_ends_its_worker() -> None:
    async with pool() as decoder:
        job = asyncio.create_task(decoder.run(LONG, MANY_FRAMES))
        process = await until_decoding()
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert (await decoder.run(JPEG, saved(photo(), "JPEG")))[0].size == (320, 240)
        assert process not in processes()


async def test_a_job_that_takes_too_long_is_too_large() -> None:
    async with pool(seconds=0.2) as decoder:
        with pytest.raises(ImageTooLarge, match=r"0\.2 seconds"):
            await decoder.run(LONG, MANY_FRAMES)


@pytest.mark.slow
def test_the_kernel_ends_a_job_that_uses_too_much_cpu() -> None:
    frame = head_of_frame(LONG, len(MANY_FRAMES) * 3) + MANY_FRAMES * 3
    command = [sys.executable, "-m", "bridge.images.worker", str(MEMORY), "0"]
    process = subprocess.run(command, input=frame, capture_output=True, timeout=GUARD)
    assert process.returncode == -signal.SIGXCPU


@pytest.mark.slow
async def test_an_image_that_needs_more_memory_than_allowed_is_too_large() -> None:
    large = saved(Image.new("RGB", (6000, 6000)), "PNG", compress_level=1)
    async with pool(memory=64 * MIB) as decoder:
        with pytest.raises(ImageTooLarge, match="memory"):
            await decoder.run(PNG, large)
        assert (await decoder.run(JPEG, saved(photo(), "JPEG")))[0].size == (320, 240)


@pytest.mark.parametrize("size", [(320, 240), (2000, 1500)])
async def test_an_idle_worker_that_died_fails_no_job(size: tuple[int, int]) -> None:
    data = saved(photo().resize(size), "JPEG")
    async with pool() as decoder:
        await decoder.run(JPEG, data)
        (process,) = processes()
        kill(process)  # the next job starts before the event loop notices
        assert (await decoder.run(JPEG, data))[0].size == size


@pytest.mark.parametrize("program", ["exit 1", "exec sleep 600", "head -c 40 /dev/zero; exec sleep 600", None])
async def test_a_worker_that_cannot_start_is_not_an_image_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str | None
) -> None:
    script = tmp_path / "images.worker"
    if program is not None:  # otherwise it is not executable
        script.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/id\n{program}\n")
        script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(decoders, "START_SECONDS", 0.5)
    async with pool() as decoder:
        decoder.start()
        with pytest.raises(WorkerFailed):
            await asyncio.wait_for(decoder.run(JPEG, saved(photo(), "JPEG")), GUARD)
        assert program is None or read_process((tmp_path / "id").read_text().strip(), "cmdline") == b""


async def test_busy_workers_serve_callers_round_robin() -> None:
    async with pool() as decoder:
        finished: list[str] = []

        async def run(caller: str) -> None:
            await decoder.run(JPEG, saved(photo(), "JPEG"), caller[0])
            finished.append(caller)

        jobs = [asyncio.create_task(run(caller)) for caller in ("a1", "a2", "a3", "a4", "b1", "c1", "b2")]
        await asyncio.sleep(0)
        jobs[2].cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        assert finished == ["a1", "a2", "b1", "c1", "a4", "b2"]


async def test_workers_get_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    async with pool() as decoder:
        await decoder.run(JPEG, saved(photo(), "JPEG"))
        (process,) = processes()
        assert b"sk-secret" not in read_process(process, "environ")


def test_workers_end_with_a_killed_service() -> None:
    script = (
        "import asyncio, os, signal\n"
        "from tests.images.test_decoder import JPEG, photo, pool, processes, saved\n"
        "async def main():\n"
        "    async with pool() as decoder:\n"
        "        await decoder.run(JPEG, saved(photo(), 'JPEG'))\n"
        "        print(*processes(), flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    service = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=GUARD)
    process = service.stdout.strip()
    until(lambda: b"images.worker" not in read_process(process, "cmdline"))
