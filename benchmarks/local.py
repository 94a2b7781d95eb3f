"""Measure the embedded engine with a tiny model of random weights: what the bridge adds to llama.cpp."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import httpx2

from benchmarks.photos import SMALL
from benchmarks.report import SPREAD, Report, Table, spread
from benchmarks.running import Running, bridge
from tests.local import tiny
from tests.local.processes import engines_of

RUNS = 30
_LIMIT = 120.0


def run() -> Report:
    """Start the service several times for the load time, then caption one photo again and again."""
    loads, first, speeds = [], [], []
    for _ in range(5):
        with _service() as service:
            loads.append(_caption(service)["timing"]["load"])
    with _service() as service:
        _caption(service)
        (pid,) = engines_of(service.pid)
        engine = Running(0, pid)
        before, engine_before = service.cpu(), engine.cpu()
        for _ in range(RUNS):
            speeds.append(_caption(service)["timing"]["tokens_per_second"])
        engine_cpu = engine.cpu() - engine_before
        bridge_cpu = service.cpu() - before - engine_cpu
        first = [_first_partial(service) for _ in range(RUNS)]
        memory, bridge_memory = engine.memory(), service.memory() - engine.memory()
    figures = (
        ("tokens per second, median", f"{median(speeds):.0f}"),
        ("RSS of the engine", f"{memory:.0f} MB"),
        ("RSS of the bridge beside it", f"{bridge_memory:.0f} MB"),
        ("CPU of the engine per caption", f"{engine_cpu / RUNS * 1000:.0f} ms"),
        ("CPU of the bridge per caption", f"{bridge_cpu / RUNS * 1000:.1f} ms"),
    )
    rows = (spread("load the model", loads), spread("time to the first partial object", first))
    return Report(
        "Embedded engine (tiny model, 1 thread)", [Table(SPREAD, rows), Table(("figure", "value"), figures)], []
    )


@contextmanager
def _service() -> Iterator[Running]:
    with tempfile.TemporaryDirectory() as folder:
        model = tiny.write(Path(folder))
        (Path(folder) / "config").mkdir()
        text = f'[providers.local]\nkind = "local"\ndefault_model = "{model}"\noptions = {{ context = 16384 }}\n'
        (Path(folder) / "config" / "providers.toml").write_text(text)
        with bridge(workspace=Path(folder), GRAPHCAP_PROVIDER="local") as service:
            yield service


def _caption(service: Running) -> dict[str, dict[str, float]]:
    response = httpx2.post(f"{service.url}/perspectives/alt_text/caption", **_request())  # type: ignore[arg-type]
    response.raise_for_status()
    caption: dict[str, dict[str, float]] = response.json()
    return caption


def _first_partial(service: Running) -> float:
    """Return the milliseconds from the request to the first partial object, or to the result if there is none."""
    start = time.perf_counter()
    headers = {"accept": "text/event-stream"}
    url = f"{service.url}/perspectives/alt_text/caption"
    with httpx2.stream("POST", url, headers=headers, **_request()) as response:  # type: ignore[arg-type]
        events = [(line, time.perf_counter() - start) for line in response.iter_lines() if line.startswith("event: ")]
    return next(seconds for line, seconds in events if line in ("event: partial", "event: result")) * 1000


def _request() -> dict[str, object]:
    return {"files": {"image": SMALL.read_bytes()}, "data": {"max_tokens": "2000", "seed": "1"}, "timeout": _LIMIT}
