"""A thousand captions at once over WebSockets, and how fast a cancelled one leaves its provider."""

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
from benchmarks.load import Request, fetch, posted
from benchmarks.report import SPREAD, Promise, Report, Table, spread
from benchmarks.running import Running, bridge, settle, standin

PERSPECTIVE = "alt_text"
WANTED, EACH = 1000, 32
DELAY = 2.0
LONG_DELAY = 10.0  # the first call is still under way when the last one begins, however slow the machine
RUNS = 20
STREAM = "/perspectives/stream"
Cancel = Callable[[], Awaitable[None]]
Seen = dict[str, Any]


def run() -> Report:
    """Count what came back and what it took, then cancel in every way there is."""
    crowds = [_crowd(delay) for delay in (DELAY, LONG_DELAY)]
    with standin(60.0) as provider, bridge(provider) as service:
        cancelled = {name: asyncio.run(_cancels(service, provider, begin)) for name, begin in WAYS.items()}
    tables = [
        Table(Crowd.HEAD, tuple(crowd.cells() for crowd in crowds)),
        Table(SPREAD, tuple(spread(name, values) for name, values in cancelled.items())),
    ]
    lost, peak = max(crowd.lost for crowd in crowds), max(crowd.peak for crowd in crowds)
    promises = [
        Promise("1,000 captions at once over WebSockets: those without a result", 0, lost, ""),
        Promise("1,000 captions at once over WebSockets: memory at most", 600, peak, "MB"),
        *(Promise(f"{name}: the provider's connection closes", 250, max(ms), "ms") for name, ms in cancelled.items()),
    ]
    return Report("Streams", tables, promises)


@dataclass(frozen=True)
class Crowd:
    """What a thousand captions at once came to; memory in MB."""

    HEAD: ClassVar = (
        *("captions", "each call takes", "without a result", "at the provider at once", "seconds"),
        *("CPU ms/caption", "RSS before", "at most", "after"),
    )

    delay: float
    results: int
    at_once: int
    seconds: float
    cpu: float
    before: float
    peak: float
    after: float

    @property
    def lost(self) -> int:
        """Captions that ended without a result."""
        return WANTED - self.results

    def cells(self) -> tuple[str, ...]:
        """Its line in the table."""
        counts = (str(WANTED), f"{self.delay:g} s", str(self.lost), str(self.at_once))
        memory = (f"{megabytes:.0f} MB" for megabytes in (self.before, self.peak, self.after))
        return (*counts, f"{self.seconds:.1f}", f"{self.cpu * 1000 / WANTED:.2f}", *memory)


def _crowd(delay: float) -> Crowd:
    with standin(delay) as provider, bridge(provider) as service:
        settle()
        cpu, before, start = service.cpu(), service.memory(), time.perf_counter()
        ends = asyncio.run(_thousand(service))
        return Crowd(
            delay=delay,
            results=ends["result"],
            at_once=asyncio.run(_seen(provider))["at_once"],
            seconds=time.perf_counter() - start,
            cpu=service.cpu() - cpu,
            before=before,
            peak=service.memory("VmHWM"),
            after=service.memory(),
        )


async def _thousand(service: Running) -> Counter[str]:
    """Captions of a photo of 100 KB, 32 a socket; how many ended how."""
    image = {"base64": b64encode(photos.of_bytes((1024, 768), 100_000)).decode()}
    frame: dict[str, object] = {"type": "caption", "perspective": PERSPECTIVE, "image": image}
    counts = [EACH] * (WANTED // EACH) + [WANTED % EACH]
    ends: Counter[str] = Counter()
    for one in await asyncio.gather(*(_socket(service, frame, count) for count in counts)):
        ends += one
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
    await socket.send(json.dumps({"type": "caption", "id": "one", **_caption()}))

    async def cancel() -> None:
        await socket.send('{"type": "cancel", "id": "one"}')

    return cancel


async def _by_closing(service: Running) -> Cancel:
    socket = await connect(_address(service))
    await socket.send(json.dumps({"type": "caption", "id": "one", **_caption()}))
    return socket.close


async def _by_dropping_events(service: Running) -> Cancel:
    return await _dropped(service, posted("/perspectives/caption", _caption(), "text/event-stream"))


async def _by_dropping_json(service: Running) -> Cancel:
    return await _dropped(service, posted("/perspectives/caption", _caption()))


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
    """Milliseconds from cancelling a call that is under way to the provider's connection closing."""
    found = []
    for _ in range(RUNS):
        cancel = await begin(service)
        before = await _until(provider, "in_flight", 1)
        start = time.monotonic()
        await cancel()
        after = await _until(provider, "in_flight", 0)
        assert len(after["left"]) == len(before["left"]) + 1
        found.append((after["left"][-1] - start) * 1000)
    return found


async def _until(provider: Running, name: str, number: int) -> Seen:
    """Ask until the provider has seen so many."""
    async with asyncio.timeout(20):
        while True:
            seen = await _seen(provider)
            if seen[name] == number:
                return seen
            await asyncio.sleep(0.005)


async def _seen(provider: Running) -> Seen:
    seen: Seen = json.loads(await fetch(provider, "/seen"))
    return seen


def _caption() -> dict[str, object]:
    return {"perspective": PERSPECTIVE, "image": {"path": "datasets/samples/coffee.jpg"}}


def _address(service: Running) -> str:
    return f"ws://127.0.0.1:{service.port}{STREAM}"
