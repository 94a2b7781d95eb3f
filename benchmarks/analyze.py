"""Compare an analysis of one photo by eight perspectives with eight captions."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from statistics import median

from benchmarks import photos
from benchmarks.load import Request, in_base64, once, posted
from benchmarks.report import SPREAD, Report, Table, Target, spread
from benchmarks.rounds import Contender, Figures, in_turns, ratio
from benchmarks.running import Running, baseline, bridge, stub

PERSPECTIVES = (
    *("alt_text", "graph_caption", "art_critic", "training_caption"),
    *("training_tags", "scene_graph", "text_in_image", "emotional_sentiment"),
)
RUNS = 6
DELAY = 0.25
ANALYSES = 4  # in progress together, with as many provider calls as 32 captions
Pairs = dict[str, tuple[list[float], list[float]]]


@dataclass(frozen=True)
class Requests:
    """The same photo as one analysis and as single captions."""

    analysis: Request
    captions: tuple[Request, ...]


def run() -> Report:
    """Measure CPU with an immediate provider and with `builtin`, and wall time with a slow provider."""
    large, small = _requests(photos.twelve_megapixels()), _requests(photos.SMALL.read_bytes())
    costs: Pairs = {}
    with stub() as quick, bridge(quick) as service:
        costs["stub provider"] = asyncio.run(_costs(service, large))
        with baseline(quick) as bare:
            analysis, singly = _against(bare, service, small)
    with bridge() as service:
        costs["`builtin`"] = asyncio.run(_costs(service, large))
        walls: Pairs = {"70 KB, `builtin`": asyncio.run(_walls(service, small))}
    with stub(DELAY) as slow, bridge(slow) as service:
        walls["70 KB, stub provider"] = asyncio.run(_walls(service, small))
        walls["12 megapixels, stub provider"] = asyncio.run(_walls(service, large))
    each = [cost / len(PERSPECTIVES) for cost in analysis.costs]
    rows = (spread("the bridge, 8 in one analysis", each), spread("the baseline, one by one", singly.costs))
    tables = [_table("CPU", costs, WAYS), Table(("CPU of each perspective, 70 KB", *SPREAD[1:]), rows)]
    tables.append(_table("wall time", walls, WALLS))
    target = Target(
        "CPU of each perspective of an analysis, 70 KB, relative to the baseline",
        0.75,
        ratio(analysis, singly) / len(PERSPECTIVES),
        "×",
    )
    return Report("Analyze", tables, [*_shares(costs), target, *_lags(walls)])


WAYS = ("8 perspectives in one analysis", "8 captions")
WALLS = (WAYS[0], "the slowest perspective alone")


def _against(bare: Running, service: Running, requests: Requests) -> tuple[Figures, Figures]:
    """Compare analyses with the baseline, which receives the same perspectives as single requests."""
    analysis = Contender("analysis", service, (requests.analysis,), ANALYSES)
    singly = Contender("baseline", bare, requests.captions, ANALYSES * len(PERSPECTIVES))
    both = in_turns([analysis, singly])
    return both["analysis"], both["baseline"]


def _table(what: str, measured: Pairs, names: tuple[str, str]) -> Table:
    """Return a table with two rows per measurement."""
    rows = [
        spread(f"{name}, {setup}", values)
        for setup, pair in measured.items()
        for name, values in zip(names, pair, strict=True)
    ]
    return Table((what, *SPREAD[1:]), tuple(rows))


def _requests(image: bytes) -> Requests:
    fields = {"image": {"base64": b64encode(image).decode()}, "perspectives": PERSPECTIVES}
    captions = tuple(in_base64(image, name) for name in PERSPECTIVES)
    return Requests(posted("/perspectives/analyze", fields), captions)


async def _costs(service: Running, requests: Requests) -> tuple[list[float], list[float]]:
    """Return the CPU milliseconds of each analysis, and of as many captions."""
    await _check(service, requests)
    together = [await _cost(service, lambda: once(service, requests.analysis)) for _ in range(RUNS)]
    apart = [await _cost(service, lambda: _each(service, requests)) for _ in range(RUNS)]
    return together, apart


async def _cost(service: Running, work: Callable[[], Awaitable[object]]) -> float:
    before = service.cpu()
    await work()
    return (service.cpu() - before) * 1000


async def _each(service: Running, requests: Requests) -> list[float]:
    return [(await once(service, request))[0] for request in requests.captions]


async def _walls(service: Running, requests: Requests) -> tuple[list[float], list[float]]:
    """Return the milliseconds of each analysis, and of the slowest perspective alone, measured in turns."""
    await _check(service, requests)
    together, apart = [], []
    for _ in range(RUNS):
        together.append((await once(service, requests.analysis))[0] * 1000)
        apart.append(await _each(service, requests))
    slowest = max(zip(*apart, strict=True), key=median)
    return together, [seconds * 1000 for seconds in slowest]


async def _check(service: Running, requests: Requests) -> None:
    """Warm the service up, and check that every perspective succeeds."""
    _, body = await once(service, requests.analysis)
    if errors := json.loads(body)["errors"]:
        raise RuntimeError(f"the analysis failed: {errors}")


def _shares(costs: Pairs) -> Iterator[Target]:
    for setup, (together, apart) in costs.items():
        share = sum(together) / sum(apart)
        yield Target(f"CPU of an analysis of 12 megapixels, relative to eight captions, {setup}", 0.333, share, "")


def _lags(walls: Pairs) -> Iterator[Target]:
    for setup, (together, alone) in walls.items():
        lag = median(together) - median(alone)
        yield Target(f"Time of an analysis beyond its slowest perspective, {setup}", 15, lag, "ms")
