"""Image sources, and attempts to read files outside of the workspace."""

import os
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import ImageNotFound, ImageTooLarge, PathRefused
from bridge.images import sources
from bridge.images.fetch import Fetcher
from bridge.images.limits import ImageLimits
from bridge.images.sources import Access, Source
from bridge.network.policy import AddressPolicy
from tests.images.samples import photo, quarters, saved

LIMITS = ImageLimits()
FETCHER = Fetcher(AddressPolicy("listed"))  # not used by paths
IMAGE = saved(quarters(), "PNG")
SECRET = saved(photo(), "PNG")


async def from_path(path: str, workspace: Path) -> Source:
    return await sources.load("path", path, Access(workspace, FETCHER, LIMITS))


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Create a workspace with an image."""
    root = tmp_path / "workspace"
    (root / "datasets").mkdir(parents=True)
    (root / "datasets" / "a.png").write_bytes(IMAGE)
    return root


async def test_a_file_of_the_workspace_is_read(workspace: Path) -> None:
    source = await from_path("/workspace//datasets/./a.png", workspace)
    assert source.data == IMAGE
    assert (source.origin, source.header.media_type) == ("path", "image/png")
    assert repr(IMAGE) not in repr(source)


@pytest.mark.parametrize("name", ["folder", "a.png"])
async def test_a_file_replaced_after_the_check_is_rejected(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The file is replaced after its links are resolved and before it is opened."""
    (workspace / "folder").mkdir()
    (workspace / "folder" / "a.png").write_bytes(IMAGE)
    (workspace.parent / "a.png").write_bytes(SECRET)
    resolved = os.path.realpath
    swapped = []

    def resolve(path: Any, *args: Any, **options: Any) -> str:
        result = resolved(path, *args, **options)
        if result == str(workspace / "folder" / "a.png") and not swapped:
            swapped.append(name)
            place = workspace / "folder" if name == "folder" else workspace / "folder" / "a.png"
            place.rename(workspace / "old")
            place.symlink_to(workspace.parent if name == "folder" else workspace.parent / "a.png")
        return result

    monkeypatch.setattr(os.path, "realpath", resolve)
    with pytest.raises((PathRefused, ImageNotFound)):
        await from_path("folder/a.png", workspace)
    assert swapped


async def test_a_large_file_is_rejected_without_reading_it(workspace: Path) -> None:
    with (workspace / "large.png").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(ImageTooLarge, match="20 MiB"):
        await from_path("large.png", workspace)
