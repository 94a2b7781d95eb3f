"""Measure `graphcap batch`: rate and CPU per image, in process and on Ray, and memory over many images."""

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks import photos
from benchmarks.load import PERSPECTIVE, load, to_provider, uploaded
from benchmarks.report import Report, Table, Target
from benchmarks.running import SCRIPT, Running, bridge, clean, stub, wired

ROUNDS = 5
MANY = int(os.environ.get("BATCH_IMAGES", "20000"))
DELAY = 0.5
CALLS = 32
FULL = 64
"""Concurrent calls of one actor of Ray. Ray's own processes need CPU at any rate: fewer calls cost more per image."""
PER_CALL = 40
"""Images for each concurrent call, so that a run takes 20 s."""
PHOTO = photos.SMALL.read_bytes()
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""A file system in memory, so that the time of the disk is not measured."""

Section = tuple[list[tuple[str, str]], list[Target]]
"""Rows and targets."""


@dataclass(frozen=True)
class Figures:
    """One run. `seconds`: without the start. `memory`: MB after a tenth of the images, and after nine tenths.

    Of the middle half of the images, without the start and the end: `rate` in images per second, and `cpu` in
    milliseconds per image, of all processes.
    """

    seconds: float
    memory: tuple[float, float]
    rate: float
    cpu: float


def run() -> Report:
    """Measure folders of photos at a stub provider that answers in 0.5 s, and a large one at a fast one."""
    sections = (_beside_service(), _on_ray(), _many())
    rows = tuple(row for section, _ in sections for row in section)
    head = ("what", f"photos of 70 KB, {DELAY} s per call")
    return Report("Batch", [Table(head, rows)], [target for _, section in sections for target in section])


def _beside_service() -> Section:
    with photo_folder(CALLS * PER_CALL) as folder, stub(DELAY) as provider, bridge(provider) as service:
        count = CALLS * PER_CALL
        alone = asyncio.run(load(provider, to_provider(PHOTO), CALLS, 600, count)).rate
        rounds = [  # in turns, because the speed of a shared machine varies
            (batch(provider, folder, count, CALLS), service_cpu(service, count)) for _ in range(ROUNDS)
        ]
    batches, services = zip(*rounds, strict=True)
    rows = [
        (f"the provider alone, {CALLS} calls", f"{alone:.1f} images/s"),
        (f"the service, {CALLS} calls, uploads", f"{median(services):.2f} ms CPU per image"),
        (f"in process, {CALLS} calls", text(batches)),
    ]
    seconds = median(figures.seconds for figures in batches)
    relative = median(figures.cpu / service for figures, service in rounds)
    return rows, [
        Target("Time of a batch relative to that of the provider alone", 1 / 0.95, seconds * alone / count, "×"),
        Target("CPU of a batch per image relative to the service", 1.1, relative, "×"),
    ]


def _on_ray() -> Section:
    rows, relative = [], 0.0
    for calls in (CALLS, FULL):
        count = calls * PER_CALL
        with photo_folder(count) as folder, stub(DELAY) as provider:
            rounds = [
                (batch(provider, folder, count, calls), batch(provider, folder, count, calls, "--engine", "ray"))
                for _ in range(ROUNDS)
            ]
        relative = median(ray.cpu / own.cpu for own, ray in rounds)
        own, ray = zip(*rounds, strict=True)
        rows.append((f"in process, {calls} calls, beside Ray", text(own)))
        rows.append((f"on Ray, {calls} calls", f"{text(ray)}: {relative:.2f} × in process"))
    title = f"CPU of a batch on Ray per image relative to that in process, {FULL} calls (one actor)"
    return rows, [Target(title, 1.3, relative, "×")]


def _many() -> Section:
    with photo_folder(MANY) as folder, stub() as provider:
        figures = batch(provider, folder, MANY, CALLS)
        index = Path(folder, ".graphcap.jsonl").stat().st_size / MANY
    start, end = figures.memory
    rows = [
        (f"{MANY} images, a provider without delay", f"{figures.rate:.1f} images/s, {start:.0f} to {end:.0f} MB"),
        ("a row of the index", f"{index:.0f} bytes"),
    ]
    return rows, [Target(f"Memory after 90 % of {MANY} images relative to that after 10 %", 1.25, end / start, "×")]


@contextmanager
def photo_folder(count: int) -> Iterator[str]:
    """Make a folder of photos for the duration of the block. They are links to one file, so that they take no space."""
    with TemporaryDirectory(dir=MEMORY) as folder:
        source = Path(folder, "0.jpg")
        source.write_bytes(PHOTO)
        for number in range(1, count):
            Path(folder, f"{number}.jpg").hardlink_to(source)
        yield folder


def batch(provider: Running, folder: str, count: int, calls: int, *options: str) -> Figures:
    """Caption the `count` images of a folder in processes of their own."""
    command = [str(SCRIPT), "batch", folder, "-p", PERSPECTIVE, "--concurrency", str(calls), *options]
    command += ["--existing", "overwrite", "--json"]
    times, cpu, memory, done, seconds = {}, {}, {}, 0, 0.0
    with subprocess.Popen(command, env=clean(wired(provider)), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for event in map(json.loads, process.stdout):
            if event["type"] == "finished":
                seconds = event["totals"]["seconds"]
            if event["type"] != "captioned":
                continue
            done += 1
            if (part := done / count) in (0.1, 0.25, 0.75, 0.9):
                running = Running(0, process.pid)
                times[part], cpu[part], memory[part] = time.monotonic(), running.cpu(), running.memory()
    assert process.returncode == 0
    half = count / 2
    rate, used = half / (times[0.75] - times[0.25]), (cpu[0.75] - cpu[0.25]) / half * 1000
    return Figures(seconds, (memory[0.1], memory[0.9]), rate, used)


def service_cpu(service: Running, count: int) -> float:
    """Return the CPU milliseconds of the service for one upload."""
    request = uploaded(PHOTO)
    asyncio.run(load(service, request, CALLS, 60, CALLS))
    before = service.cpu()
    asyncio.run(load(service, request, CALLS, 600, count))
    return (service.cpu() - before) / count * 1000


def text(figures: Sequence[Figures]) -> str:
    """Return the medians of the rates and of the CPU time."""
    rate, cpu = median(each.rate for each in figures), median(each.cpu for each in figures)
    return f"{rate:.1f} images/s, {cpu:.2f} ms CPU per image"
