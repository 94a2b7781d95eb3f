"""Measure a caption: the provider alone, the baseline, and the bridge by base64, path and upload."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import photos
from benchmarks.load import CAPTION, PERSPECTIVE, Request, in_base64, posted, to_provider, uploaded
from benchmarks.report import Report, Table, Target
from benchmarks.rounds import HEAD, Contender, Figures, in_turns, ratio
from benchmarks.running import baseline, bridge, stub

CONNECTIONS = (1, 32)
LARGE = "12 MP"
_ROUNDS = {"70 KB": 4, "1.1 MB": 3, LARGE: 1}
Measured = dict[tuple[str, int], dict[str, Figures]]


def run() -> Report:
    """Measure two photos that are passed on and one that must be prepared."""
    sizes = {
        "70 KB": photos.SMALL.read_bytes(),
        "1.1 MB": photos.of_bytes((2048, 1536), 1_100_000),
        LARGE: photos.twelve_megapixels(),
    }
    measured: Measured = {}
    with TemporaryDirectory() as workspace, stub() as provider:
        for name, data in sizes.items():
            Path(workspace, f"{name}.jpg").write_bytes(data)
        with baseline(provider) as bare, bridge(provider, Path(workspace)) as service:
            servers = {"provider alone": provider, "baseline": bare}
            for photo, data in sizes.items():
                requests = list(_requests(photo, data))
                for connections in CONNECTIONS:
                    contenders = [
                        Contender(what, servers.get(what, service), (request,), connections)
                        for what, request in requests
                    ]
                    measured[photo, connections] = in_turns(contenders, _ROUNDS[photo])
    rows = [
        (what, photo, str(connections), *figures.cells())
        for (photo, connections), group in measured.items()
        for what, figures in group.items()
    ]
    return Report("Captions", [Table(("what", "photo", "connections", *HEAD), tuple(rows))], list(_targets(measured)))


def _requests(photo: str, data: bytes) -> Iterator[tuple[str, Request]]:
    yield "provider alone", to_provider(data)
    yield "baseline", in_base64(data)
    yield "bridge, base64", in_base64(data)
    yield "bridge, path", posted(CAPTION, {"image": {"path": f"{photo}.jpg"}, "perspective": PERSPECTIVE})
    yield "bridge, upload", uploaded(data)


def _targets(measured: Mapping[tuple[str, int], Mapping[str, Figures]]) -> Iterator[Target]:
    for photo, times in (("70 KB", 0.9), ("1.1 MB", 0.75)):
        group = measured[photo, 32]
        share = ratio(group["bridge, base64"], group["baseline"])
        yield Target(
            f"CPU of a caption of {photo} that is passed on, relative to the baseline, 32 connections",
            times,
            share,
            "×",
        )
