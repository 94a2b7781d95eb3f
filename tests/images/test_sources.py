"""Where an image may come from, and every way to make it come from elsewhere."""

import os
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import ImageNotFound, ImageTooLarge, PathRefused
from bridge.images import sources
from bridge.images.fetch import Fetcher
from bridge.images.limits import ImageLimits
from bridge.images.sources import Access, Source
from bridge.network import AddressPolicy
from tests.images.samples import photo, quarters, saved

LIMITS = ImageLimits()
HANG_GUARD = 60.0
FETCHER = Fetcher(AddressPolicy("listed"))  # not used by paths
IMAGE = saved(quarters(), "PNG")
SECRET = saved(photo(), "PNG")


async def from_path(path: str, workspace: Path) -> Source:
    return await sources.load("path", path, Access(workspace, FETCHER, LIMITS))


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with an image, and a secret beside it."""
    root = tmp_path / "workspace"
    (root / "datasets" / "deep").mkdir(parents=True)
    (root / "datasets" / "a.png").write_bytes(IMAGE)
    (root / "datasets" / "ä b%41.png").write_bytes(IMAGE)
    (tmp_path / "secret.png").write_bytes(SECRET)
    (tmp_path / "workspace-other").mkdir()
    (tmp_path / "workspace-other" / "secret.png").write_bytes(SECRET)
    return root


@pytest.mark.parametrize(
    "path",
    [
        "datasets/a.png",
        "/workspace/datasets/a.png",
        "./datasets/./a.png",
        "datasets//a.png",
        "/workspace//datasets/a.png",
    ],
)
async def test_a_file_of_the_workspace_is_read(workspace: Path, path: str) -> None:
    source = await from_path(path, workspace)
    assert source.data == IMAGE
    assert (source.origin, source.name, source.header.media_type) == ("path", "datasets/a.png", "image/png")
    assert repr(IMAGE) not in repr(source)


async def test_a_race_between_directory_and_link_never_gets_out(workspace: Path) -> None:
    """Read while a thread replaces a directory's link with one to the outside, over and over."""
    (workspace / "inner").mkdir()
    (workspace / "inner" / "secret.png").write_bytes(IMAGE)
    (workspace / "door").symlink_to("inner")
    stop = threading.Event()

    def swap() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            new = workspace / f"new{turn % 2}"
            new.symlink_to(workspace.parent if turn % 2 else "inner")
            new.rename(workspace / "door")

    thread = threading.Thread(target=swap)
    thread.start()
    outcomes = set()
    try:
        end = time.monotonic() + HANG_GUARD
        for attempt in count():
            if (attempt >= 500 and {True, PathRefused} <= outcomes) or time.monotonic() > end:
                break
            try:
                outcomes.add((await from_path("door/secret.png", workspace)).data == IMAGE)
            except (PathRefused, ImageNotFound) as error:
                outcomes.add(type(error))
    finally:
        stop.set()
        thread.join()
    assert False not in outcomes
    assert {True, PathRefused} <= outcomes


@pytest.mark.parametrize("name", ["door", "a.png"])
async def test_what_was_checked_is_what_is_opened(workspace: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The exchange comes in the worst moment: after the links were resolved, before the opening."""
    (workspace / "door").mkdir()
    (workspace / "door" / "a.png").write_bytes(IMAGE)
    (workspace.parent / "a.png").write_bytes(SECRET)
    resolved = os.path.realpath
    swapped = []

    def resolve(path: Any, *args: Any, **options: Any) -> str:
        result = resolved(path, *args, **options)
        if result == str(workspace / "door" / "a.png") and not swapped:
            swapped.append(name)
            place = workspace / "door" if name == "door" else workspace / "door" / "a.png"
            place.rename(workspace / "old")
            place.symlink_to(workspace.parent if name == "door" else workspace.parent / "a.png")
        return result

    monkeypatch.setattr(os.path, "realpath", resolve)
    with pytest.raises((PathRefused, ImageNotFound)):
        await from_path("door/a.png", workspace)
    assert swapped


async def test_a_large_file_is_refused_unread(workspace: Path) -> None:
    with (workspace / "large.png").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(ImageTooLarge, match="20 MiB"):
        await from_path("large.png", workspace)
