"""Send twice as many captions as one worker accepts, for a minute, and count successes and rejections."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

from benchmarks import photos
from benchmarks.load import Request, read_response, uploaded
from benchmarks.report import SPREAD, Report, Table, Target, percentile, spread
from benchmarks.running import Running, bridge, settle, stub

IN_FLIGHT = 32
DELAY = 0.5
SECONDS = 60
RATE = 2 * IN_FLIGHT / DELAY


@dataclass
class Outcome:
    """The responses: counts by status, and milliseconds of the served and of the rejected requests."""

    counts: Counter[str] = field(default_factory=Counter)
    served: list[float] = field(default_factory=list)
    rejected: list[float] = field(default_factory=list)


def run() -> Report:
    """Send requests at twice the rate that can be served."""
    settings = {"GRAPHCAP_MAX_IN_FLIGHT": str(IN_FLIGHT)}
    with stub(DELAY) as provider, bridge(provider, **settings) as service:
        request = uploaded(photos.SMALL.read_bytes())
        asyncio.run(_send_all(service, request, 1.0))
        settle()
        before = service.memory()
        outcome = asyncio.run(_send_all(service, request, SECONDS))
        peak = service.memory("VmHWM")
    sent = outcome.counts.total()
    expected = IN_FLIGHT / DELAY * SECONDS
    other = sent - outcome.counts["200"] - outcome.counts["503"]
    rows = (
        ("sent", str(sent)),
        ("served (200)", str(outcome.counts["200"])),
        ("rejected (503 with Retry-After)", str(outcome.counts["503"])),
        ("other", str(other)),
        ("memory before", f"{before:.0f} MB"),
        ("maximum memory", f"{peak:.0f} MB"),
    )
    targets = [
        Target("Neither served nor rejected", 0, other, ""),
        Target("Unused share of the capacity", 0.1, 1 - outcome.counts["200"] / expected, ""),
        Target("A rejection, 99th percentile", 250, percentile(outcome.rejected, 99), "ms"),
        Target("Maximum memory", 400, peak, "MB"),
    ]
    times = (spread("served", outcome.served), spread("rejected", outcome.rejected))
    title = f"Twice the capacity for {SECONDS} s ({IN_FLIGHT} in flight, calls of {DELAY:g} s, {RATE:g} per second)"
    return Report(title, [Table(("figure", "value"), rows), Table(SPREAD, times)], targets)


async def _send_all(service: Running, request: Request, seconds: float) -> Outcome:
    """Send at the rate, one connection per request, without waiting for responses."""
    outcome, message = Outcome(), request.written()
    start = time.perf_counter()
    tasks = []
    for number in range(round(seconds * RATE)):
        await asyncio.sleep(start + number / RATE - time.perf_counter())
        tasks.append(asyncio.create_task(_send(service, message, outcome)))
    await asyncio.gather(*tasks)
    return outcome


async def _send(service: Running, message: bytes, outcome: Outcome) -> None:
    start = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        writer.write(message)
        headers, _ = await read_response(reader)
        milliseconds = (time.perf_counter() - start) * 1000
        status = headers.split(" ", 2)[1]
        status = status if status != "503" or "retry-after: " in headers else "503 without Retry-After"
        outcome.counts[status] += 1
        (outcome.served if status == "200" else outcome.rejected).append(milliseconds)
    except (OSError, EOFError) as error:
        outcome.counts[type(error).__name__] += 1
    finally:
        writer.close()
