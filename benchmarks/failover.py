"""Failover of two endpoints under load: seconds until the traffic of one that stops or hangs moves, and returns."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from pydantic_core import from_json

from benchmarks import photos
from benchmarks.load import answer, in_base64
from benchmarks.report import SPREAD, Report, Table, Target, spread
from benchmarks.running import MODEL, Running, bridge, stub

INTERVAL = 1.0
DELAY = 0.05
CALLERS = 8
ROUNDS = 3
_PATIENCE = 30.0
# The events that are measured, and the probe intervals that each may take.
_STOPPED, _BACK = "An endpoint is stopped: its traffic moves", "It is started again: its traffic returns"
_HANGS, _AWAKE = "An endpoint hangs: its traffic moves", "It goes on: its traffic returns"
_EVENTS = {_STOPPED: 1.0, _BACK: 2.0, _HANGS: 1.0, _AWAKE: 2.0}


@dataclass
class Traffic:
    """Every caption: the time of its request, the time of its response, and the endpoints that were called."""

    captions: list[tuple[float, float, list[str]]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def left(self, since: float) -> float:
        """Return the seconds after `since` until the last request that went to `a`."""
        return max((sent - since for sent, _, tried in self.captions if sent > since and "a" in tried), default=0.0)

    def returned(self, since: float) -> float | None:
        """Return the seconds until the first response of `a` to a request sent after `since`."""
        responses = (received - since for sent, received, tried in self.captions if sent > since and tried[-1] == "a")
        return next(responses, None)


def run() -> Report:
    """Stop, restart, suspend and resume one endpoint, several times."""
    times: dict[str, list[float]] = {name: [] for name in _EVENTS}
    traffic = Traffic()
    asyncio.run(_measure(times, traffic))
    rows = tuple(spread(name, [second * 1000 for second in seconds]) for name, seconds in times.items())
    targets = [
        Target(f"{name}, of a probe interval", _EVENTS[name], median(times[name]) / INTERVAL, "") for name in times
    ]
    lost = Target("Captions lost meanwhile", 0, len(traffic.failed), "")
    title = f"Failover ({CALLERS} callers, calls of {DELAY * 1000:.0f} ms, probes every {INTERVAL:g} s)"
    return Report(title, [Table(SPREAD, rows)], [*targets, lost])


async def _measure(times: dict[str, list[float]], traffic: Traffic) -> None:
    with ExitStack() as running:
        other = running.enter_context(stub(DELAY))
        first = ExitStack()
        server = first.enter_context(stub(DELAY))
        service = running.enter_context(_gateway(server, other))
        running.callback(first.close)
        over = asyncio.Event()
        callers = [asyncio.create_task(_call(service, traffic, over)) for _ in range(CALLERS)]
        for _ in range(ROUNDS):
            await _return(traffic, time.perf_counter())
            since = time.perf_counter()
            await asyncio.to_thread(first.close)
            await asyncio.sleep(2 * INTERVAL)
            times[_STOPPED].append(traffic.left(since))
            server = await asyncio.to_thread(first.enter_context, stub(DELAY, server.port))
            times[_BACK].append(await _return(traffic, time.perf_counter()))
            since = time.perf_counter()
            os.kill(server.pid, signal.SIGSTOP)
            await asyncio.sleep(3 * INTERVAL)
            times[_HANGS].append(traffic.left(since))
            os.kill(server.pid, signal.SIGCONT)
            times[_AWAKE].append(await _return(traffic, time.perf_counter()))
        over.set()
        await asyncio.gather(*callers)


async def _return(traffic: Traffic, since: float) -> float:
    """Wait for the first response of `a` to a request sent after `since`. Return the seconds."""
    async with asyncio.timeout(_PATIENCE), traffic.changed:
        await traffic.changed.wait_for(lambda: traffic.returned(since) is not None)
    return traffic.returned(since) or 0.0


async def _call(service: Running, traffic: Traffic, over: asyncio.Event) -> None:
    """Request one caption after another."""
    message = in_base64(photos.SMALL.read_bytes()).written()
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port, limit=2**20)
    while not over.is_set():
        sent = time.perf_counter()
        writer.write(message)
        try:
            tried = [attempt["endpoint"] for attempt in from_json(await answer(reader))["attempts"]]
        except RuntimeError as error:
            traffic.failed.append(str(error))
            continue
        traffic.captions.append((sent, time.perf_counter(), tried))
        async with traffic.changed:
            traffic.changed.notify_all()
    writer.close()


@contextmanager
def _gateway(a: Running, b: Running) -> Iterator[Running]:
    """Start the service in front of both endpoints."""
    with TemporaryDirectory() as workspace:
        (config := Path(workspace, "config")).mkdir()
        ends = ", ".join(f'{{ base_url = "{at.url}", name = "{name}" }}' for name, at in (("a", a), ("b", b)))
        (config / "providers.toml").write_text(
            f'[providers.pair]\nkind = "vllm"\ndefault_model = "{MODEL}"\n'
            f"probe_interval = {INTERVAL}\nendpoints = [{ends}]\n"
        )
        with bridge(workspace=Path(workspace), GRAPHCAP_PROVIDER="pair") as service:
            yield service
