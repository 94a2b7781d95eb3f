"""The cost of a caption: the provider alone, the floor, and the bridge by every way in."""

import asyncio
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import photos
from benchmarks.load import Load, Request, load, posted, uploaded
from benchmarks.report import Promise, Report, Table
from benchmarks.running import MODEL, Running, bridge, floor, standin

PERSPECTIVE = "alt_text"
CAPTION = "/perspectives/caption"
CONNECTIONS = (1, 32)
SECONDS = 3.0
AT_MOST = 4000
HEAD = ("what", "photo", "connections", "CPU ms/caption", "requests/s", "p50 ms", "p99 ms", "RSS MB")


@dataclass(frozen=True)
class Row:
    """One measured combination."""

    what: str
    photo: str
    connections: int
    load: Load
    cpu: float
    memory: float

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds of the server for each request."""
        return self.cpu * 1000 / len(self.load.latencies)

    def cells(self) -> tuple[str, ...]:
        """Its line in the table."""
        latencies = (f"{self.load.percentile(percent):.1f}" for percent in (50, 99))
        rate = f"{self.load.rate:.0f}"
        return (
            self.what,
            self.photo,
            str(self.connections),
            f"{self.cpu_ms:.2f}",
            rate,
            *latencies,
            f"{self.memory:.0f}",
        )


def run() -> Report:
    """Measure every way in, with photos that pass and one that must be prepared."""
    sizes = {
        "70 KB": photos.SMALL.read_bytes(),
        "1.1 MB": photos.of_bytes((2048, 1536), 1_100_000),
        "12 MP": photos.twelve_megapixels(),
    }
    rows: dict[tuple[str, str, int], Row] = {}
    with TemporaryDirectory() as workspace, standin() as provider:
        for name, data in sizes.items():
            Path(workspace, f"{name}.jpg").write_bytes(data)
        with floor(provider) as bare, bridge(provider, Path(workspace)) as service:
            servers = {"provider alone": provider, "floor": bare}
            for what, photo, request in _requests(sizes):
                server = servers.get(what, service)
                for connections in CONNECTIONS:
                    rows[what, photo, connections] = asyncio.run(_row(what, photo, connections, server, request))
    table = Table(HEAD, tuple(row.cells() for row in rows.values()))
    return Report("Captions", [table], list(_promises(rows)))


def _requests(sizes: dict[str, bytes]) -> Iterator[tuple[str, str, Request]]:
    for name, data in sizes.items():
        encoded = b64encode(data).decode()
        posting = posted(CAPTION, {"image": {"base64": encoded}, "perspective": PERSPECTIVE})
        if name != "12 MP":
            picture = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{encoded}"}}
            asked = {"model": MODEL, "messages": [{"role": "user", "content": [picture]}]}
            yield "provider alone", name, posted("/v1/chat/completions", asked)
            yield "floor", name, posting
        yield "bridge, base64", name, posting
        if name != "1.1 MB":
            yield "bridge, path", name, posted(CAPTION, {"image": {"path": f"{name}.jpg"}, "perspective": PERSPECTIVE})
            yield "bridge, upload", name, uploaded(CAPTION, data, perspective=PERSPECTIVE)


async def _row(what: str, photo: str, connections: int, server: Running, request: Request) -> Row:
    await load(server, request, min(connections, 8), 1.0, 8)
    before = server.cpu()
    done = await load(server, request, connections, SECONDS, AT_MOST)
    return Row(what, photo, connections, done, server.cpu() - before, server.memory())


def _promises(rows: dict[tuple[str, str, int], Row]) -> Iterator[Promise]:
    for photo, times in (("70 KB", 1.5), ("1.1 MB", 1.2)):
        ours, least = rows["bridge, base64", photo, 32].cpu_ms, rows["floor", photo, 32].cpu_ms
        yield Promise(f"CPU of a caption of {photo} that passes, against the floor", times, ours / least, "×")
