"""Eight perspectives over one photo, asked for together and one by one."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from statistics import median

from benchmarks import photos
from benchmarks.load import Request, once, posted
from benchmarks.report import SPREAD, Promise, Report, Table, spread
from benchmarks.rounds import Contender, Figures, in_turns, ratio
from benchmarks.running import Running, bridge, floor, standin

PERSPECTIVES = (
    *("alt_text", "graph_caption", "art_critic", "training_caption"),
    *("training_tags", "scene_graph", "text_in_image", "emotional_sentiment"),
)
RUNS = 6
DELAY = 0.25
# As many calls are under way as with 32 captions.
AT_ONCE = 4
Pairs = dict[str, tuple[list[float], list[float]]]


@dataclass(frozen=True)
class Asked:
    """The same photo, as one analysis and as captions one by one."""

    analysis: Request
    captions: tuple[Request, ...]


def run() -> Report:
    """CPU with a provider that answers at once and with `builtin`; wall time with one that takes its time."""
    large, small = _asked(photos.twelve_megapixels()), _asked(photos.SMALL.read_bytes())
    costs: Pairs = {}
    with standin() as quick, bridge(quick) as service:
        costs["the stand-in"] = asyncio.run(_costs(service, large))
        with floor(quick) as bare:
            analysis, singly = _against(bare, service, small)
    with bridge() as service:
        costs["`builtin`"] = asyncio.run(_costs(service, large))
        walls: Pairs = {"70 KB, `builtin`": asyncio.run(_walls(service, small))}
    with standin(DELAY) as slow, bridge(slow) as service:
        walls["70 KB, the stand-in"] = asyncio.run(_walls(service, small))
        walls["12 megapixels, the stand-in"] = asyncio.run(_walls(service, large))
    each = [cost / len(PERSPECTIVES) for cost in analysis.costs]
    rows = (spread("the bridge, 8 in one analysis", each), spread("the floor, each by itself", singly.costs))
    tables = [_table("CPU", costs, WAYS), Table(("CPU of each perspective, 70 KB", *SPREAD[1:]), rows)]
    tables.append(_table("wall time", walls, WALLS))
    least = Promise(
        "CPU of each perspective of an analysis, 70 KB, against the floor",
        1.3,
        ratio(analysis, singly) / len(PERSPECTIVES),
        "×",
    )
    return Report("Analyze", tables, [*_shares(costs), least, *_lags(walls)])


WAYS = ("8 perspectives in one analysis", "8 captions")
WALLS = (WAYS[0], "the slowest of them alone")


def _against(bare: Running, service: Running, asked: Asked) -> tuple[Figures, Figures]:
    """Analyses of eight perspectives, and the floor asked for the same eight one by one; as many calls at once."""
    analysis = Contender("analysis", service, (asked.analysis,), AT_ONCE)
    singly = Contender("floor", bare, asked.captions, AT_ONCE * len(PERSPECTIVES))
    both = in_turns([analysis, singly])
    return both["analysis"], both["floor"]


def _table(what: str, measured: Pairs, names: tuple[str, str]) -> Table:
    """Both series of each measurement, one row each."""
    rows = [
        spread(f"{name}, {who}", values)
        for who, pair in measured.items()
        for name, values in zip(names, pair, strict=True)
    ]
    return Table((what, *SPREAD[1:]), tuple(rows))


def _asked(image: bytes) -> Asked:
    fields = {"image": {"base64": b64encode(image).decode()}}
    return Asked(
        posted("/perspectives/analyze", {**fields, "perspectives": PERSPECTIVES}),
        tuple(posted("/perspectives/caption", {**fields, "perspective": name}) for name in PERSPECTIVES),
    )


async def _costs(service: Running, asked: Asked) -> tuple[list[float], list[float]]:
    """Milliseconds of CPU of each analysis, and of as many captions each time."""
    await _checked(service, asked)
    together = [await _cost(service, lambda: once(service, asked.analysis)) for _ in range(RUNS)]
    apart = [await _cost(service, lambda: _each(service, asked)) for _ in range(RUNS)]
    return together, apart


async def _cost(service: Running, work: Callable[[], Awaitable[object]]) -> float:
    before = service.cpu()
    await work()
    return (service.cpu() - before) * 1000


async def _each(service: Running, asked: Asked) -> list[float]:
    return [(await once(service, one))[0] for one in asked.captions]


async def _walls(service: Running, asked: Asked) -> tuple[list[float], list[float]]:
    """Milliseconds each analysis takes, and the slowest perspective by itself, in turns."""
    await _checked(service, asked)
    together, apart = [], []
    for _ in range(RUNS):
        together.append((await once(service, asked.analysis))[0] * 1000)
        apart.append(await _each(service, asked))
    slowest = max(zip(*apart, strict=True), key=median)
    return together, [seconds * 1000 for seconds in slowest]


async def _checked(service: Running, asked: Asked) -> None:
    """Warm it up, and be sure that every perspective succeeds."""
    _, body = await once(service, asked.analysis)
    if errors := json.loads(body)["errors"]:
        raise RuntimeError(f"the analysis failed: {errors}")


def _shares(costs: Pairs) -> Iterator[Promise]:
    for who, (together, apart) in costs.items():
        share = sum(together) / sum(apart)
        yield Promise(f"CPU of eight perspectives over 12 megapixels, of eight captions', {who}", 0.333, share, "")


def _lags(walls: Pairs) -> Iterator[Promise]:
    for who, (together, alone) in walls.items():
        lag = median(together) - median(alone)
        yield Promise(f"An analysis after its slowest perspective, {who}", 15, lag, "ms")
