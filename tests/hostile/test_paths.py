"""Path traversal: send every path of `paths.toml` to the service."""

import os
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.caption_client import CaptionClient, Response
from tests.images.samples import saved, solid
from tests.service import Service

ROWS = tomllib.loads((Path(__file__).parent / "paths.toml").read_text("utf-8"))["path"]
STATUS = {"accepted": 200, "path_refused": 403, "image_not_found": 404}
INSIDE, OUTSIDE = (saved(solid((32, 32), colour), "PNG") for colour in ((10, 200, 10), (200, 10, 10)))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Create a workspace with files and links, and secrets outside of it."""
    outside = tmp_path_factory.mktemp("outside")
    root = outside / "workspace"
    datasets = root / "datasets"
    datasets.mkdir(parents=True)
    for name in ("a.png", "...png", "..a.png", "ä b%41.png", "ｅ.png"):
        (datasets / name).write_bytes(INSIDE)
    (root / "-rf.png").write_bytes(INSIDE)
    (outside / "workspace-other").mkdir()
    for place in (outside, outside / "workspace-other"):
        (place / "secret.png").write_bytes(OUTSIDE)
    links = {
        "datasets/link.png": "a.png",
        "datasets/absolute.png": f"{datasets}/a.png",
        "datasets/chain.png": "link.png",
        "datasets/dangling.png": "nowhere.png",
        "alias": "datasets",
        "out.png": "../secret.png",
        "out-absolute.png": f"{outside}/secret.png",
        "out-chain.png": "out.png",
        "out-by-name.png": f"{root}-other/secret.png",
        "out": "..",
        "proc": "/proc/self",
        "root": "/",
        "loop.png": "loop.png",
        "loop-of-two.png": "loop-back.png",
        "loop-back.png": "loop-of-two.png",
        "fifo-link.png": "fifo.png",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    (root / "deep-links.png").symlink_to("deep0")
    for n in range(60):
        (root / f"deep{n}").symlink_to(f"deep{n + 1}" if n < 59 else "datasets/a.png")
    os.mkfifo(root / "fifo.png")
    with socket.socket(socket.AF_UNIX) as listener:
        at = os.open(root, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{at}/socket.png")  # the absolute path would be too long for a socket
        os.close(at)
        yield root


@pytest.fixture(scope="module")
def client(root: Path) -> Iterator[CaptionClient]:
    with Service(workspace=root) as service, CaptionClient(service.url) as client:
        yield client


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["expect"])
def test_every_path_of_the_table(client: CaptionClient, root: Path, row: dict[str, str | list[str]]) -> None:
    expect = str(row["expect"])
    paths = [str(path).replace("{root}", str(root)).replace("{outside}", str(root.parent)) for path in row["paths"]]
    answers = client.send_all({"path": path} for path in paths)
    wrong = [
        f"{path!r}: {response.status} {response.code} {response.detail}"
        for path, response in zip(paths, answers, strict=True)
        if (response.code, response.status) != (expect, STATUS[expect]) or leaks(response, root)
    ]
    assert not wrong, "\n".join(wrong)


def leaks(answer: Response, root: Path) -> bool:
    return str(root.parent) in answer.detail or ("secret" in answer.detail and answer.code == "path_refused")


def test_all_rejections_are_identical(client: CaptionClient, root: Path) -> None:
    """Paths outside of the workspace and special files get the same response, whether they exist or not."""
    ways = ("../{}", "{outside}/{}", "/workspace/../{}", "%2e%2e/{}", "out/{}", "datasets/../../{}", "..\\{}")
    names = ("secret.png", "missing.png", "workspace", "", "workspace/datasets/a.png", "x" * 300)
    paths = [way.replace("{}", name) for way in ways for name in names]
    paths += [path for row in ROWS if row["expect"] == "path_refused" for path in row["paths"]]
    paths = [path.replace("{root}", str(root)).replace("{outside}", str(root.parent)) for path in paths]
    bodies = {str(problem(response)) for response in client.send_all({"path": path} for path in paths)}
    assert len(bodies) == 1
    assert "path_refused" in bodies.pop()


def problem(answer: Response) -> dict[str, object]:
    return {name: value for name, value in answer.body.items() if name not in ("instance", "timing", "request_id")}
