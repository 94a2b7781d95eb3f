"""Measure a cold start: `graphcap --help`, `graphcap caption`, and `graphcap serve` until its first caption."""

import asyncio
import subprocess
import time

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
        rows.append(spread(name, [measure() * 1000 for _ in range(RUNS)]))
        medians.append(float(rows[-1][2].split()[0]))
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
    request = uploaded("/perspectives/caption", SMALL.read_bytes(), perspective="alt_text")
    start = time.perf_counter()
    with bridge() as service:
        asyncio.run(once(service, request))
        return time.perf_counter() - start


STARTS = {
    "`graphcap --help`": show_help,
    "`graphcap caption`": caption_once,
    "`graphcap serve` to its first caption": first_caption,
}
