"""Measure `graphcap batch --engine ray` on a local cluster: CPU per image relative to that in process, and the rate."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import photos
from benchmarks.batch import DELAY, fill
from benchmarks.captions import PERSPECTIVE
from benchmarks.report import Report, Table, Target
from benchmarks.running import ROOT, Running, clean, stub, wired

IMAGES = int(os.environ.get("RAY_IMAGES", "4800"))
ACTORS = 2
CALLS = int(os.environ.get("RAY_CALLS", "96"))
"""Concurrent calls. Ray's own processes need about 7 % of a core at any rate, so fewer calls cost more per image."""
_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""A file system in memory, so that the time of the disk is not measured."""


def run() -> Report:
    """Caption a folder of photos with both engines, at a stub provider that answers in 0.5 s."""
    with TemporaryDirectory(dir=_MEMORY) as folder, stub(DELAY) as provider:
        fill(Path(folder), photos.SMALL.read_bytes(), IMAGES)
        engines = {"in process": (), f"on Ray, {ACTORS} actors": ("--engine", "ray", "--num-actors", str(ACTORS))}
        figures = {name: measure(provider, folder, *options) for name, options in engines.items()}
        bytes_of_row = (Path(folder) / ".graphcap.jsonl").stat().st_size / IMAGES
    rows = [
        (name, f"{cpu * 1000:.2f} ms CPU per image ({command * 1000:.2f} of the command), {rate:.1f} images/s")
        for name, (cpu, command, rate) in figures.items()
    ]
    rows.append(("a row of the index", f"{bytes_of_row:.0f} bytes"))
    own, ray = (cpu for cpu, *_ in figures.values())
    return Report(
        "Batch on Ray",
        [Table(("engine", f"{IMAGES} photos of 70 KB, {CALLS} slots, {DELAY} s"), rows)],
        (Target("CPU of a batch on Ray per image relative to that in process", 1.3, ray / own, "×"),),
    )


def measure(provider: Running, folder: str, *options: str) -> tuple[float, float, float]:
    """Caption the folder. Return CPU seconds per image, those of the command's own process, and images per second.

    All are those of the middle half of the images, with every process of the run: without the start and the end of Ray,
    and with the same number of images in flight at both ends.
    """
    command = [sys.executable, "-m", "bridge.cli", "batch", folder, "-p", PERSPECTIVE, "--concurrency", str(CALLS)]
    command += ["--existing", "overwrite", "--json", *options]
    quarter, done, ends = IMAGES // 4, 0, []
    with subprocess.Popen(command, cwd=ROOT, env=clean(wired(provider)), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        running = Running(0, process.pid)
        for line in process.stdout:
            if json.loads(line)["type"] == "captioned":
                done += 1
                if done in (quarter, 3 * quarter):
                    ends.append((running.cpu(), running.own_cpu(), time.monotonic()))
    assert process.returncode == 0
    count = 2 * quarter
    cpu, own, seconds = (end - start for start, end in zip(*ends, strict=True))
    return cpu / count, own / count, count / seconds
