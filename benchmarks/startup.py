"""Cold start: `graphcap --help`, and `graphcap serve` until its first caption."""

import asyncio
import subprocess
import time

from benchmarks.load import once, uploaded
from benchmarks.photos import SMALL
from benchmarks.report import SPREAD, Promise, Report, Table, spread
from benchmarks.running import ROOT, SCRIPT, bridge, clean

RUNS = 10


def run() -> Report:
    """Start each some times; the medians count."""
    rows, medians = [], []
    for name, measured in (("`graphcap --help`", shown_help), ("`graphcap serve` to its first caption", first_caption)):
        measured()  # compiles and caches what a first run on a machine does
        rows.append(spread(name, [measured() * 1000 for _ in range(RUNS)]))
        medians.append(float(rows[-1][2].split()[0]))
    promises = [
        Promise("`graphcap --help`, cold", 300, medians[0], "ms"),
        Promise("`graphcap serve` to its first `builtin` caption, cold", 1500, medians[1], "ms"),
    ]
    return Report("Start", [Table(SPREAD, tuple(rows))], promises)


def shown_help() -> float:
    """Seconds from the start of the command to its end."""
    start = time.perf_counter()
    subprocess.run([SCRIPT, "--help"], cwd=ROOT, env=clean(), stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def first_caption() -> float:
    """Seconds from the start of the command to the whole answer of a caption."""
    request = uploaded("/perspectives/caption", SMALL.read_bytes(), perspective="alt_text")
    start = time.perf_counter()
    with bridge() as service:
        asyncio.run(once(service, request))
        return time.perf_counter() - start
