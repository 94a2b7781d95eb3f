"""Two endpoints under load: one stops, hangs and comes back; how soon its traffic leaves, and how soon it returns."""

import asyncio
import os
import signal
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from pydantic_core import from_json

from benchmarks import photos
from benchmarks.load import answer, posted
from benchmarks.report import SPREAD, Promise, Report, Table, spread
from benchmarks.running import MODEL, Running, bridge, standin

INTERVAL = 1.0
DELAY = 0.05
CALLERS = 8
ROUNDS = 3
_PATIENCE = 30.0


@dataclass
class Traffic:
    """Every caption: when it was asked for, when it came, and the endpoints that were tried for it."""

    captions: list[tuple[float, float, list[str]]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    def left(self, since: float) -> float:
        """Seconds until nothing that was asked for went to `a` any more."""
        return max((asked - since for asked, _, tried in self.captions if asked > since and "a" in tried), default=0.0)

    def returned(self, since: float) -> float | None:
        """Seconds until `a` made a caption again that was asked for since."""
        made = (came - since for asked, came, tried in self.captions if asked > since and tried[-1] == "a")
        return next(made, None)


def run() -> Report:
    """Stop it, hang it, revive it, several times."""
    asyncio.run(_measured(found := {name: list[float]() for name in _EVENTS}, traffic := Traffic()))
    rows = [spread(name, [one * 1000 for one in seconds]) for name, seconds in found.items()]
    promises = [
        Promise(f"{name}, of a probe interval", limit, median(found[name]) / INTERVAL, "")
        for name, limit in _EVENTS.items()
    ]
    lost = Promise("Captions lost meanwhile", 0, len(traffic.failed), "")
    title = f"Failover ({CALLERS} callers, calls of {DELAY * 1000:.0f} ms, probes every {INTERVAL:g} s)"
    return Report(title, [Table(SPREAD, tuple(rows))], [*promises, lost])


# What is measured, and how many probe intervals it may take.
_STOPPED, _BACK = "An endpoint is stopped: its traffic moves", "It is started again: its traffic returns"
_HANGS, _AWAKE = "An endpoint hangs: its traffic moves", "It goes on: its traffic returns"
_EVENTS = {_STOPPED: 1.0, _BACK: 2.0, _HANGS: 1.0, _AWAKE: 2.0}


async def _measured(found: dict[str, list[float]], traffic: Traffic) -> None:
    with ExitStack() as running:
        other = running.enter_context(standin(DELAY))
        first = ExitStack()
        one = first.enter_context(standin(DELAY))
        service = running.enter_context(_gateway(one, other))
        running.callback(lambda: first.close())
        over = asyncio.Event()
        callers = [asyncio.create_task(_call(service, traffic, over)) for _ in range(CALLERS)]
        for _ in range(ROUNDS):
            await _come(traffic, time.perf_counter())
            since = time.perf_counter()
            await asyncio.to_thread(first.close)
            await asyncio.sleep(2 * INTERVAL)
            found[_STOPPED].append(traffic.left(since))
            one = await asyncio.to_thread(first.enter_context, standin(DELAY, one.port))
            found[_BACK].append(await _come(traffic, time.perf_counter()))
            since = time.perf_counter()
            os.kill(one.pid, signal.SIGSTOP)
            await asyncio.sleep(3 * INTERVAL)
            found[_HANGS].append(traffic.left(since))
            os.kill(one.pid, signal.SIGCONT)
            found[_AWAKE].append(await _come(traffic, time.perf_counter()))
        over.set()
        await asyncio.gather(*callers)


async def _come(traffic: Traffic, since: float) -> float:
    """Wait until `a` makes a caption that was asked for since then; the seconds."""
    async with asyncio.timeout(_PATIENCE), traffic.news:
        await traffic.news.wait_for(lambda: traffic.returned(since) is not None)
    return traffic.returned(since) or 0.0


async def _call(service: Running, traffic: Traffic, over: asyncio.Event) -> None:
    """One caption after another."""
    image = b64encode(photos.SMALL.read_bytes()).decode()
    message = posted("/perspectives/caption", {"perspective": "alt_text", "image": {"base64": image}}).written()
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port, limit=2**20)
    while not over.is_set():
        asked = time.perf_counter()
        writer.write(message)
        try:
            tried = [one["endpoint"] for one in from_json(await answer(reader))["attempts"]]
        except RuntimeError as error:
            traffic.failed.append(str(error))
            continue
        traffic.captions.append((asked, time.perf_counter(), tried))
        async with traffic.news:
            traffic.news.notify_all()
    writer.close()


@contextmanager
def _gateway(one: Running, other: Running) -> Iterator[Running]:
    """The service before both."""
    with TemporaryDirectory() as workspace:
        (config := Path(workspace, "config")).mkdir()
        ends = ", ".join(f'{{ base_url = "{at.url}", name = "{name}" }}' for name, at in (("a", one), ("b", other)))
        (config / "providers.toml").write_text(
            f'[providers.pair]\nkind = "vllm"\ndefault_model = "{MODEL}"\n'
            f"probe_interval = {INTERVAL}\nendpoints = [{ends}]\n"
        )
        with bridge(workspace=Path(workspace), GRAPHCAP_PROVIDER="pair") as service:
            yield service
