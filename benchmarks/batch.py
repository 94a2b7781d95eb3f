"""Measure `graphcap batch`: images per second, CPU per image relative to the service, and memory over many images."""

import asyncio
import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks import photos
from benchmarks.load import PERSPECTIVE, load, to_provider, uploaded
from benchmarks.report import Report, Table, Target
from benchmarks.running import SCRIPT, Running, bridge, clean, stub, wired

IMAGES = 1280
ROUNDS = 5
MANY = int(os.environ.get("BATCH_IMAGES", "20000"))
DELAY = 0.5
CALLS = 32
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""A file system in memory, so that the time of the disk is not measured."""


@dataclass(frozen=True)
class Figures:
    """One run. `seconds`: without the start. `memory`: MB after a tenth of the images, and at the end."""

    seconds: float
    memory: tuple[float, float]


def run() -> Report:
    """Measure a folder of photos at a stub provider that answers in 0.5 s, and a large one at a fast one."""
    with TemporaryDirectory(dir=MEMORY) as folder, stub(DELAY) as provider:
        fill(Path(folder), photos.SMALL.read_bytes(), IMAGES)
        timed = batch(provider, folder, IMAGES)
        alone = IMAGES / asyncio.run(load(provider, to_provider(photos.SMALL.read_bytes()), CALLS, 600, IMAGES)).rate
        with bridge(provider) as service:  # in turns, because the speed of a shared machine varies
            rounds = [
                (batch_cpu(provider, folder), service_cpu(service, photos.SMALL.read_bytes())) for _ in range(ROUNDS)
            ]
    with TemporaryDirectory(dir=MEMORY) as folder, stub() as provider:
        fill(Path(folder), photos.SMALL.read_bytes(), MANY)
        many = batch(provider, folder, MANY)
    rate = IMAGES / timed.seconds
    cpu, own = (median(figures) * 1000 for figures in zip(*rounds, strict=True))
    rows = (
        (f"{IMAGES} photos of 70 KB, {CALLS} slots, {DELAY} s", f"{rate:.1f} images/s, {cpu:.2f} ms CPU per image"),
        ("the provider alone, the same photos", f"{IMAGES / alone:.1f} images/s"),
        ("the service, the same photos as uploads", f"{own:.2f} ms CPU per image"),
        (f"{MANY} photos", f"{MANY / many.seconds:.1f} images/s, {many.memory[0]:.0f} to {many.memory[1]:.0f} MB"),
    )
    targets = (
        Target("Time of a batch relative to that of the provider alone", 1 / 0.95, timed.seconds / alone, "×"),
        Target(
            "CPU of a batch per image relative to the service",
            1.1,
            median(whole / service for whole, service in rounds),
            "×",
        ),
        Target(
            f"Memory over {MANY} images relative to that after a tenth of them",
            1.25,
            many.memory[1] / many.memory[0],
            "×",
        ),
    )
    return Report("Batch", [Table(("what", "measured"), rows)], targets)


def fill(folder: Path, data: bytes, count: int) -> None:
    """Write images. They are links to one file, so that they take no space."""
    source = folder / "0.jpg"
    source.write_bytes(data)
    for number in range(1, count):
        (folder / f"{number}.jpg").hardlink_to(source)


def batch(provider: Running, folder: str, count: int) -> Figures:
    """Caption `count` images in a process of its own."""
    memory, done, seconds = [0.0, 0.0], 0, 0.0
    with started(provider, folder, "--json") as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            done += event["type"] == "captioned"
            if event["type"] == "finished":
                seconds = event["totals"]["seconds"]
            elif event["type"] == "captioned" and done % (count // 10) == 0:
                now = Running(0, process.pid).memory()
                memory = [memory[0] or now, now]
    assert process.returncode == 0
    return Figures(seconds, (memory[0], memory[1]))


def batch_cpu(provider: Running, folder: str) -> float:
    """Return the CPU seconds of a batch for one image, measured in the middle half: without its start and its end."""
    index = Path(folder, ".graphcap.jsonl")
    index.unlink(missing_ok=True)
    with started(provider, folder, "--existing", "overwrite") as process:
        cpu = Running(0, process.pid).cpu
        first, start = wait_for_rows(process, index, IMAGES // 4), cpu()
        last, end = wait_for_rows(process, index, IMAGES * 3 // 4), cpu()
    assert process.returncode == 0
    return (end - start) / (last - first)


def started(provider: Running, folder: str, *options: str) -> subprocess.Popen[str]:
    """Start a batch of a folder. Standard output is a pipe."""
    command = (str(SCRIPT), "batch", folder, "-p", PERSPECTIVE, "--concurrency", str(CALLS), *options)
    return subprocess.Popen(command, env=clean(wired(provider)), stdout=subprocess.PIPE, text=True)


def wait_for_rows(process: subprocess.Popen[str], index: Path, count: int) -> int:
    """Wait until the index of a running batch has at least `count` rows. Return their number."""
    while (rows := index.read_bytes().count(b"\n") if index.exists() else 0) < count:
        assert process.poll() is None, "The batch ended early."
        time.sleep(0.05)
    return rows


def service_cpu(service: Running, data: bytes) -> float:
    """Return the CPU seconds of the service for one upload."""
    request = uploaded(data)
    asyncio.run(load(service, request, CALLS, 60, CALLS))
    before = service.cpu()
    asyncio.run(load(service, request, CALLS, 600, IMAGES))
    return (service.cpu() - before) / IMAGES
