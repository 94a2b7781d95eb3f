"""Measure `graphcap batch`: images per second, CPU per image relative to the service, and memory over many images."""

import asyncio
import json
import os
import subprocess
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks import photos
from benchmarks.captions import CAPTION, PERSPECTIVE
from benchmarks.load import Request, load, posted, uploaded
from benchmarks.report import Promise, Report, Table
from benchmarks.running import MODEL, SCRIPT, Running, bridge, clean, standin, wired

IMAGES = 1280
ROUNDS = 3
MANY = int(os.environ.get("BATCH_IMAGES", "20000"))
DELAY = 0.5
PLACES = 32
_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""A file system in memory, so that the time of the disk is not measured."""


@dataclass(frozen=True)
class Figures:
    """One run. `seconds`: without the start. `memory`: MB after a tenth of the images, and at the end; both 0 without
    events.
    """

    seconds: float
    cpu: float
    memory: tuple[float, float]


def run() -> Report:
    """Measure a folder of photos at a stand-in that answers in 0.5 s, and a large one at a fast stand-in."""
    with TemporaryDirectory(dir=_MEMORY) as folder, standin(DELAY) as provider:
        fill(Path(folder), photos.SMALL.read_bytes(), IMAGES)
        first = batch(provider, folder, "--limit", "1")
        timed = batch(provider, folder, "--existing", "overwrite", "--json", count=IMAGES)
        alone = IMAGES / asyncio.run(load(provider, _call(photos.SMALL.read_bytes()), PLACES, 600, IMAGES)).rate
        with bridge(provider) as service:  # in turns, because the speed of a shared machine varies
            rounds = [
                (
                    batch(provider, folder, "--existing", "overwrite").cpu,
                    service_cpu(service, photos.SMALL.read_bytes()),
                )
                for _ in range(ROUNDS)
            ]
    with TemporaryDirectory(dir=_MEMORY) as folder, standin() as provider:
        fill(Path(folder), photos.SMALL.read_bytes(), MANY)
        many = batch(provider, folder, "--json", count=MANY)
    rate = IMAGES / timed.seconds
    cpu = median(whole - first.cpu for whole, _ in rounds) / IMAGES * 1000
    own = median(service for _, service in rounds)
    rows = (
        (f"{IMAGES} photos of 70 KB, {PLACES} places, {DELAY} s", f"{rate:.1f} images/s, {cpu:.2f} ms CPU per image"),
        ("the provider alone, the same photos", f"{IMAGES / alone:.1f} images/s"),
        ("the service, the same photos as uploads", f"{own * 1000:.2f} ms CPU per image"),
        (f"{MANY} photos", f"{MANY / many.seconds:.1f} images/s, {many.memory[0]:.0f} to {many.memory[1]:.0f} MB"),
    )
    promises = (
        Promise("Time of a batch relative to that of the provider alone", 1 / 0.95, timed.seconds / alone, "×"),
        Promise("CPU of a batch per image relative to the service", 1.1, cpu / (own * 1000), "×"),
        Promise(
            f"Memory over {MANY} images relative to that after a tenth of them",
            1.25,
            many.memory[1] / many.memory[0],
            "×",
        ),
    )
    return Report("Batch", [Table(("what", "measured"), rows)], promises)


def _call(data: bytes) -> Request:
    """Return the request to the provider for one photo."""
    image = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{b64encode(data).decode()}"}}
    return posted("/v1/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": [image]}]})


def fill(folder: Path, data: bytes, count: int) -> None:
    """Write images. They are links to one file, so that they take no space."""
    source = folder / "0.jpg"
    source.write_bytes(data)
    for number in range(1, count):
        (folder / f"{number}.jpg").hardlink_to(source)


def batch(provider: Running, folder: str, *options: str, count: int = 0) -> Figures:
    """Caption a folder in a process of its own. `count`: read the memory after a tenth of so many, and at the end."""
    command = (str(SCRIPT), "batch", folder, "-p", PERSPECTIVE, "--concurrency", str(PLACES), *options)
    before, memory, done, seconds = os.times(), [0.0, 0.0], 0, 0.0
    with subprocess.Popen(command, env=clean(wired(provider)), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            done += event["type"] == "captioned"
            if event["type"] == "finished":
                seconds = event["totals"]["seconds"]
            elif event["type"] == "captioned" and done % (count // 10) == 0:
                memory = [memory[0] or resident(process.pid), resident(process.pid)]
    assert process.returncode == 0
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Figures(seconds, cpu, (memory[0], memory[1]))


def resident(pid: int) -> float:
    """Return the memory of a process in MB."""
    return Running(0, pid).memory()


def service_cpu(service: Running, data: bytes) -> float:
    """Return the CPU seconds of the service for one upload."""
    request = uploaded(CAPTION, data, perspective=PERSPECTIVE)
    asyncio.run(load(service, request, PLACES, 60, PLACES))
    before = service.cpu()
    asyncio.run(load(service, request, PLACES, 600, IMAGES))
    return (service.cpu() - before) / IMAGES
