"""Twice as many captions as one worker carries, for a minute: who is served, who is refused, and how quickly."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

from benchmarks import photos
from benchmarks.load import Request, uploaded
from benchmarks.report import SPREAD, Promise, Report, Table, spread
from benchmarks.running import Running, bridge, settle, standin

IN_FLIGHT = 32
DELAY = 0.5
SECONDS = 60
RATE = 2 * IN_FLIGHT / DELAY


@dataclass
class Outcome:
    """What became of every request: counts by status, and milliseconds of the served and of the refused."""

    counts: Counter[str] = field(default_factory=Counter)
    served: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)


def run() -> Report:
    """Ask at twice the rate that is carried, whatever comes back."""
    settings = {"GRAPHCAP_MAX_IN_FLIGHT": str(IN_FLIGHT)}
    with standin(DELAY) as provider, bridge(provider, **settings) as service:
        request = uploaded("/perspectives/caption", photos.SMALL.read_bytes(), perspective="alt_text")
        asyncio.run(_asked(service, request, 1.0))
        settle()
        before = service.memory()
        found = asyncio.run(_asked(service, request, SECONDS))
        peak = service.memory("VmHWM")
    asked = found.counts.total()
    expected = IN_FLIGHT / DELAY * SECONDS
    odd = asked - found.counts["200"] - found.counts["503"]
    rows = (
        ("asked", str(asked)),
        ("served (200)", str(found.counts["200"])),
        ("refused (503 with Retry-After)", str(found.counts["503"])),
        ("anything else", str(odd)),
        ("memory before", f"{before:.0f} MB"),
        ("memory at most", f"{peak:.0f} MB"),
    )
    promises = [
        Promise("Neither served nor refused", 0, odd, ""),
        Promise("Carried, of what could be: missing at most", 0.1, 1 - found.counts["200"] / expected, ""),
        Promise("A refusal, 99 % of them", 250, _percentile(found.refused, 0.99), "ms"),
        Promise("Memory at most", 400, peak, "MB"),
    ]
    times = (spread("served", found.served), spread("refused", found.refused))
    title = f"Twice the capacity for {SECONDS} s ({IN_FLIGHT} in flight, calls of {DELAY:g} s, {RATE:g} a second)"
    return Report(title, [Table(("what", "how much"), rows), Table(SPREAD, times)], promises)


async def _asked(service: Running, request: Request, seconds: float) -> Outcome:
    """Send at the rate, on a connection for each; nobody waits for an answer before he asks."""
    found, message = Outcome(), request.written()
    start = time.perf_counter()
    tasks = []
    for number in range(round(seconds * RATE)):
        await asyncio.sleep(start + number / RATE - time.perf_counter())
        tasks.append(asyncio.create_task(_ask(service, message, found)))
    await asyncio.gather(*tasks)
    return found


async def _ask(service: Running, message: bytes, found: Outcome) -> None:
    begun = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        writer.write(message)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        await reader.readexactly(int(head.partition("content-length:")[2].split("\r\n")[0]))
        took = (time.perf_counter() - begun) * 1000
        status = head.split(" ", 2)[1]
        status = status if status != "503" or "retry-after: " in head else "503 without Retry-After"
        found.counts[status] += 1
        (found.served if status == "200" else found.refused).append(took)
    except (OSError, EOFError) as error:
        found.counts[type(error).__name__] += 1
    finally:
        writer.close()


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0
