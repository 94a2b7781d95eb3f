"""Measure `graphcap batch --engine ray` on a local cluster: CPU per image relative to that in process, and the rate."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks import photos
from benchmarks.batch import DELAY, MEMORY, fill
from benchmarks.load import PERSPECTIVE
from benchmarks.report import Report, Table, Target
from benchmarks.running import ROOT, Running, clean, stub, wired

IMAGES = int(os.environ.get("RAY_IMAGES", "2400"))
CALLS = (32, 96)
"""Concurrent calls. Ray's own processes need the same CPU at any rate, so fewer calls cost more per image."""
ROUNDS = 3
_ENGINES = {"in process": (), "on Ray": ("--engine", "ray")}


def run() -> Report:
    """Caption a folder of photos with both engines, at a stub provider that answers in 0.5 s."""
    rows, targets = [], []
    with TemporaryDirectory(dir=MEMORY) as folder, stub(DELAY) as provider:
        fill(Path(folder), photos.SMALL.read_bytes(), IMAGES)
        for calls in CALLS:
            rounds = [  # in turns, because the speed of a shared machine varies
                [measure(provider, folder, "--concurrency", str(calls), *each) for each in _ENGINES.values()]
                for _ in range(ROUNDS)
            ]
            for name, figures in zip(_ENGINES, zip(*rounds, strict=True), strict=True):
                cpu, command, rate = (median(column) for column in zip(*figures, strict=True))
                of_command = f"{command * 1000:.2f} of the command"
                rows.append((f"{name}, {calls} calls", f"{cpu * 1000:.2f} ms CPU ({of_command}), {rate:.1f} images/s"))
            relative = median(ray / own for (own, *_), (ray, *_) in rounds)
            title = f"CPU of a batch on Ray per image relative to that in process, {calls} concurrent calls"
            targets.append(Target(title, 1.3, relative, "×"))
        rows.append(("a row of the index", f"{(Path(folder) / '.graphcap.jsonl').stat().st_size / IMAGES:.0f} bytes"))
    return Report("Batch on Ray", [Table(("engine", f"{IMAGES} photos of 70 KB, {DELAY} s"), rows)], tuple(targets))


def measure(provider: Running, folder: str, *options: str) -> tuple[float, float, float]:
    """Caption the folder. Return CPU seconds per image, those of the command's own process, and images per second.

    All are those of the middle half of the images, with every process of the run: without the start and the end of Ray,
    and with the same number of images in flight at both ends.
    """
    command = [sys.executable, "-m", "bridge.cli", "batch", folder, "-p", PERSPECTIVE]
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
