"""A thousand captions at once over WebSockets, and how fast a cancelled one leaves its provider."""

import asyncio
import json
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Awaitable, Callable
from statistics import median

from websockets.asyncio.client import ClientConnection, connect

from benchmarks import photos
from benchmarks.load import Request, fetch, posted
from benchmarks.report import SPREAD, Promise, Report, Table, spread
from benchmarks.running import Running, bridge, settle, standin

PERSPECTIVE = "alt_text"
SOCKETS, EACH = 32, 32  # 1,024: 1,000 are promised
WANTED = 1000
DELAY = 2.0
RUNS = 20
STREAM = "/perspectives/stream"
Cancel = Callable[[], Awaitable[None]]


def run() -> Report:
    """Count what came back and what it took; then cancel in every way there is."""
    with standin(DELAY) as provider, bridge(provider) as service:
        settle()
        before, idle = service.cpu(), service.memory()
        start = time.perf_counter()
        ends = asyncio.run(_thousand(service))
        took, cpu, peak = time.perf_counter() - start, service.cpu() - before, service.memory("VmHWM")
        after, at_once = service.memory(), asyncio.run(_seen(provider))["at_once"]
    with standin(60.0) as provider, bridge(provider) as service:
        cancelled = {name: asyncio.run(_cancels(service, provider, way)) for name, way in WAYS.items()}
    head = ("captions", "results", "errors", "at the provider at once", "seconds", "CPU ms/caption", "RSS before", "at most", "after")
    row = (
        *(str(WANTED), str(ends["result"]), str(ends["error"]), str(at_once), f"{took:.1f}", f"{cpu * 1000 / WANTED:.2f}"),
        *(f"{megabytes:.0f} MB" for megabytes in (idle, peak, after)),
    )
    cancels = tuple(spread(name, values) for name, values in cancelled.items())
    promises = [
        Promise("1,000 captions at once over WebSockets: those without a result", 0, WANTED - ends["result"], ""),
        Promise("1,000 captions at once over WebSockets: memory at most", 600, peak, "MB"),
        *(Promise(f"{name}: the provider's connection closes", 250, max(all_), "ms") for name, all_ in cancelled.items()),
    ]
    return Report("Streams", [Table(head, (row,)), Table(SPREAD, cancels)], promises)


async def _thousand(service: Running) -> Counter[str]:
    """Captions of a photo of 100 KB, 32 a socket; how many ended how."""
    image = {"base64": b64encode(photos.of_bytes((1024, 768), 100_000)).decode()}
    frame = {"type": "caption", "perspective": PERSPECTIVE, "image": image}
    counts = [EACH] * (WANTED // EACH) + [WANTED % EACH]
    return sum(await asyncio.gather(*(_socket(service, frame, count) for count in counts)), Counter())


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
        before = len((await _seen(provider))["left"])
        cancel = await begin(service)
        await _until(provider, lambda seen: bool(seen["in_flight"]))
        start = time.monotonic()
        await cancel()
        seen = await _until(provider, lambda seen, before=before: len(seen["left"]) > before)
        found.append((seen["left"][-1] - start) * 1000)
    return found


async def _until(provider: Running, reached: Callable[[dict], bool]) -> dict:
    async with asyncio.timeout(20):
        while not reached(seen := await _seen(provider)):
            await asyncio.sleep(0.005)
    return seen


async def _seen(provider: Running) -> dict:
    return json.loads(await fetch(provider, "/seen"))


def _caption() -> dict[str, object]:
    return {"perspective": PERSPECTIVE, "image": {"path": "datasets/samples/coffee.jpg"}}


def _address(service: Running) -> str:
    return f"ws://127.0.0.1:{service.port}{STREAM}"
