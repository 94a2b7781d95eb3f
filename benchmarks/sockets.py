"""Measure a thousand concurrent captions over WebSockets, and how fast a cancelled call ends at the provider."""

import asyncio
import json
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from websockets.asyncio.client import ClientConnection, connect

from benchmarks import photos
from benchmarks.load import CAPTION, PERSPECTIVE, Request, fetch, posted
from benchmarks.report import SPREAD, Report, Table, Target, spread
from benchmarks.running import Running, bridge, settle, stub

CAPTIONS, PER_SOCKET = 1000, 32
DELAY = 2.0
LONG_DELAY = 10.0  # the first call is still in progress when the last one begins, on any machine
RUNS = 20
STREAM = "/perspectives/stream"
Cancel = Callable[[], Awaitable[None]]
Statistics = dict[str, Any]


def run() -> Report:
    """Count the results of the captions, then cancel calls in every way."""
    batches = [_concurrent_captions(delay) for delay in (DELAY, LONG_DELAY)]
    with stub(60.0) as provider, bridge(provider) as service:
        cancelled = {name: asyncio.run(_cancels(service, provider, begin)) for name, begin in WAYS.items()}
    tables = [
        Table(Batch.HEAD, tuple(batch.cells() for batch in batches)),
        Table(SPREAD, tuple(spread(name, values) for name, values in cancelled.items())),
    ]
    lost, peak = max(batch.lost for batch in batches), max(batch.peak for batch in batches)
    targets = [
        Target("1,000 concurrent captions over WebSockets: without a result", 0, lost, ""),
        Target("1,000 concurrent captions over WebSockets: maximum memory", 600, peak, "MB"),
        *(Target(f"{name}: the provider's connection closes", 250, max(ms), "ms") for name, ms in cancelled.items()),
    ]
    return Report("Streams", tables, targets)


@dataclass(frozen=True)
class Batch:
    """The figures of a thousand concurrent captions; memory in MB."""

    HEAD: ClassVar = (
        *("captions", "call time", "without a result", "concurrent calls", "seconds"),
        *("CPU ms/caption", "RSS before", "maximum", "after"),
    )

    delay: float
    results: int
    concurrent: int
    seconds: float
    cpu: float
    before: float
    peak: float
    after: float

    @property
    def lost(self) -> int:
        """Return the number of captions without a result."""
        return CAPTIONS - self.results

    def cells(self) -> tuple[str, ...]:
        """Return its row in the table."""
        counts = (str(CAPTIONS), f"{self.delay:g} s", str(self.lost), str(self.concurrent))
        memory = (f"{megabytes:.0f} MB" for megabytes in (self.before, self.peak, self.after))
        return (*counts, f"{self.seconds:.1f}", f"{self.cpu * 1000 / CAPTIONS:.2f}", *memory)


def _concurrent_captions(delay: float) -> Batch:
    with stub(delay) as provider, bridge(provider) as service:
        settle()
        cpu, before, start = service.cpu(), service.memory(), time.perf_counter()
        ends = asyncio.run(_thousand(service))
        return Batch(
            delay=delay,
            results=ends["result"],
            concurrent=asyncio.run(_statistics(provider))["max_in_flight"],
            seconds=time.perf_counter() - start,
            cpu=service.cpu() - cpu,
            before=before,
            peak=service.memory("VmHWM"),
            after=service.memory(),
        )


async def _thousand(service: Running) -> Counter[str]:
    """Caption a photo of 100 KB, 32 times per socket, and count the events by type."""
    image = {"base64": b64encode(photos.of_bytes((1024, 768), 100_000)).decode()}
    frame: dict[str, object] = {"type": "caption", "perspective": PERSPECTIVE, "image": image}
    counts = [PER_SOCKET] * (CAPTIONS // PER_SOCKET) + [CAPTIONS % PER_SOCKET]
    ends: Counter[str] = Counter()
    for events in await asyncio.gather(*(_socket(service, frame, count) for count in counts)):
        ends += events
    return ends


async def _socket(service: Running, frame: dict[str, object], count: int) -> Counter[str]:
    ends: Counter[str] = Counter()
    async with connect(_address(service), max_size=None, compression=None) as socket:
        sending = asyncio.create_task(_send(socket, frame, count))
        while ends["done"] < count:
            ends[json.loads(await socket.recv())["type"]] += 1
        await sending
    return ends


async def _send(socket: ClientConnection, frame: dict[str, object], count: int) -> None:
    for at in range(count):
        await socket.send(json.dumps({**frame, "id": str(at)}))


async def _by_id(service: Running) -> Cancel:
    socket = await connect(_address(service))
    await socket.send(json.dumps({"type": "caption", "id": "a", **_caption()}))

    async def cancel() -> None:
        await socket.send('{"type": "cancel", "id": "a"}')

    return cancel


async def _by_closing(service: Running) -> Cancel:
    socket = await connect(_address(service))
    await socket.send(json.dumps({"type": "caption", "id": "a", **_caption()}))
    return socket.close


async def _by_dropping_events(service: Running) -> Cancel:
    return await _dropped(service, posted(CAPTION, _caption(), "text/event-stream"))


async def _by_dropping_json(service: Running) -> Cancel:
    return await _dropped(service, posted(CAPTION, _caption()))


async def _dropped(service: Running, request: Request) -> Cancel:
    _, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(request.written())

    async def cancel() -> None:
        writer.close()

    return cancel


WAYS = {
    "`cancel` by id": _by_id,
    "Closing the socket": _by_closing,
    "Dropping an event stream": _by_dropping_events,
    "Dropping a plain POST": _by_dropping_json,
}


async def _cancels(service: Running, provider: Running, begin: Callable[[Running], Awaitable[Cancel]]) -> list[float]:
    """Return the milliseconds from a cancellation until the provider's connection closes."""
    milliseconds = []
    for _ in range(RUNS):
        cancel = await begin(service)
        before = await _until(provider, "in_flight", 1)
        start = time.monotonic()
        await cancel()
        after = await _until(provider, "in_flight", 0)
        assert len(after["cancelled"]) == len(before["cancelled"]) + 1
        milliseconds.append((after["cancelled"][-1] - start) * 1000)
    return milliseconds


async def _until(provider: Running, name: str, number: int) -> Statistics:
    """Poll the statistics of the provider until one of them has this value."""
    async with asyncio.timeout(20):
        while True:
            statistics = await _statistics(provider)
            if statistics[name] == number:
                return statistics
            await asyncio.sleep(0.005)


async def _statistics(provider: Running) -> Statistics:
    statistics: Statistics = json.loads(await fetch(provider, "/statistics"))
    return statistics


def _caption() -> dict[str, object]:
    return {"perspective": PERSPECTIVE, "image": {"path": "datasets/samples/coffee.jpg"}}


def _address(service: Running) -> str:
    return f"ws://127.0.0.1:{service.port}{STREAM}"
