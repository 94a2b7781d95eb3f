"""Measure a cold start: `graphcap --help`, `graphcap caption`, and `graphcap serve` until its first caption."""

import asyncio
import subprocess
import time
from statistics import median

from benchmarks.load import once, uploaded
from benchmarks.photos import SMALL
from benchmarks.report import SPREAD, Report, Table, Target, spread
from benchmarks.running import ROOT, SCRIPT, bridge, clean

RUNS = 10


def run() -> Report:
    """Start each several times and report the medians."""
    rows, medians = [], []
    for name, measure in STARTS.items():
        measure()  # the first run on a machine also compiles the modules
        times = [measure() * 1000 for _ in range(RUNS)]
        rows.append(spread(name, times))
        medians.append(median(times))
    targets = [
        Target("`graphcap --help`, cold", 300, medians[0], "ms"),
        Target("`graphcap caption` with `builtin`, cold", 1500, medians[1], "ms"),
        Target("`graphcap serve` to its first `builtin` caption, cold", 1500, medians[2], "ms"),
    ]
    return Report("Start", [Table(SPREAD, tuple(rows))], targets)


def show_help() -> float:
    """Return the seconds that `graphcap --help` takes."""
    return _run("--help")


def caption_once() -> float:
    """Return the seconds that `graphcap caption` takes."""
    return _run("caption", str(SMALL), "--perspective", "alt_text")


def _run(*arguments: str) -> float:
    start = time.perf_counter()
    output = subprocess.DEVNULL
    subprocess.run([SCRIPT, *arguments], cwd=ROOT, env=clean(), stdout=output, stderr=output, check=True)
    return time.perf_counter() - start


def first_caption() -> float:
    """Return the seconds from the start of the service to the end of its first caption."""
    request = uploaded(SMALL.read_bytes())
    start = time.perf_counter()
    with bridge() as service:
        asyncio.run(once(service, request))
        return time.perf_counter() - start


STARTS = {
    "`graphcap --help`": show_help,
    "`graphcap caption`": caption_once,
    "`graphcap serve` to its first caption": first_caption,
}
