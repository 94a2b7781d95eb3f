"""Where an image may come from, and every way to make it come from elsewhere."""

import os
import socket
import sys
import threading
import time
import tracemalloc
from base64 import b64encode
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import ImageNotFound, ImageTooLarge, InvalidImage, PathRefused, UnsupportedImage
from bridge.images import sources
from bridge.images.fetch import Fetcher
from bridge.images.limits import ImageLimits
from bridge.images.sources import Access, Source, decode_base64, from_upload
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


@pytest.mark.parametrize(
    "path",
    [
        "../secret.png",
        "datasets/../../secret.png",
        "..",
        "/etc/passwd",
        "/workspace-other/secret.png",
        "..\\secret.png",
        "C:\\secret.png",
        "%2e%2e%2fsecret.png",
        "datasets/a.png\0.jpg",
        "datasets/\ud800.png",
        "",
        "datasets",
    ],
)
async def test_a_way_out_is_refused_whether_or_not_it_leads_anywhere(workspace: Path, path: str) -> None:
    with pytest.raises(PathRefused) as caught:
        await from_path(path, workspace)
    with pytest.raises(PathRefused) as other:
        await from_path("..", workspace)
    assert caught.value.message == other.value.message
    assert str(workspace.parent) not in caught.value.message
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "path", ["datasets/missing.png", "no/such/file", "datasets/a.png/b", "datasets/a.png/", "x" * 300]
)
async def test_what_is_missing_inside_is_not_found(workspace: Path, path: str) -> None:
    with pytest.raises(ImageNotFound) as caught:
        await from_path(path, workspace)
    assert str(workspace.parent) not in caught.value.message


@pytest.mark.parametrize(
    "target",
    [
        "../../secret.png",
        "/etc/passwd",
        "../../missing",
        "{root}-other/secret.png",
        "{root}/../secret.png",
        "/",
        "loop",
    ],
)
async def test_a_link_that_leads_out_is_refused(workspace: Path, target: str) -> None:
    (workspace / "datasets" / "loop").symlink_to(target.format(root=workspace))
    with pytest.raises(PathRefused):
        await from_path("datasets/loop", workspace)


@pytest.mark.parametrize("target", ["a.png", "deep/../a.png", "{root}/datasets/a.png", "../datasets/a.png"])
async def test_a_link_that_stays_inside_is_followed(workspace: Path, target: str) -> None:
    (workspace / "datasets" / "link").symlink_to(target.format(root=workspace))
    assert (await from_path("datasets/link", workspace)).data == IMAGE


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
    """The exchange comes in the worst moment: after the look, before the opening."""
    (workspace / "door").mkdir()
    (workspace / "door" / "a.png").write_bytes(IMAGE)
    (workspace.parent / "a.png").write_bytes(SECRET)
    looked = os.stat
    swapped = []

    def look(path: Any, *args: Any, **options: Any) -> os.stat_result:
        seen = looked(path, *args, **options)
        if path == name and not swapped:
            swapped.append(name)
            place = workspace / "door" if name == "door" else workspace / "door" / "a.png"
            place.rename(workspace / "old")
            place.symlink_to(workspace.parent if name == "door" else workspace.parent / "a.png")
        return seen

    monkeypatch.setattr(os, "stat", look)
    with pytest.raises((PathRefused, ImageNotFound)):
        await from_path("door/a.png", workspace)
    assert swapped


async def test_only_regular_files_are_read(workspace: Path) -> None:
    os.mkfifo(workspace / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(workspace / "socket"))
        names = ["fifo", "socket"]
        if os.geteuid() == 0:
            os.mknod(workspace / "zero", 0o20666, os.makedev(1, 5))
            names.append("zero")
        for name in names:
            with pytest.raises(PathRefused):
                await from_path(name, workspace)


async def test_a_large_file_is_refused_unread(workspace: Path) -> None:
    with (workspace / "large.png").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(ImageTooLarge, match="20 MiB"):
        await from_path("large.png", workspace)


@pytest.mark.parametrize("extra", range(3))
def test_a_text_is_reused_only_where_every_decoder_accepts_it(extra: int) -> None:
    data = IMAGE + b"\0" * extra
    text = b64encode(data).decode()
    assert decode_base64(text, LIMITS) == (data, text)
    assert decode_base64(text.rstrip("="), LIMITS)[0] == data
    if text.endswith("="):
        digits = text.rstrip("=")
        unusual = digits[:-1] + chr(ord(digits[-1]) + 1) + "=" * (len(text) - len(digits))
        assert decode_base64(unusual, LIMITS) == (data, "")


@pytest.mark.parametrize("part", ["%", "\\n", "A\u00a0", " ", "=", "-"])
def test_a_long_text_takes_a_few_copies_at_most(part: str) -> None:
    text = part * (3_000_000 // len(part))
    tracemalloc.start()
    try:
        with pytest.raises((InvalidImage, UnsupportedImage)):
            from_upload(decode_base64(text, LIMITS)[0], LIMITS)
        assert tracemalloc.get_traced_memory()[1] < 5 * sys.getsizeof(text)
    finally:
        tracemalloc.stop()
