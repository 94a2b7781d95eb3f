"""The index of a folder: runs that are killed or share the folder, and rows of other versions."""

import json
import os
import random
import resource
from dataclasses import replace
from pathlib import Path

import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

from bridge.batch.folder import Folder
from bridge.batch.index import Index
from bridge.batch.models import Row
from tests.batch.conftest import Graphcap, at, content, kill_after, lines, photos, without_times
from tests.servers import OpenAIServer


@pytest.mark.slow
def test_killed_runs_add_up_to_one(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    images, kills = 1000, 10
    names = [f"{number % 7}/{number}.jpg" for number in range(images)]
    options = (*at(vllm_server), "--out", "txt", "json", "hf-metadata", "--concurrency", "6")
    assert batch(photos(tmp_path / "whole", *names), *options).code == 0
    assert len(vllm_server.calls) == images
    vllm_server.calls.clear()
    folder, generator = photos(tmp_path / "parts", *names), random.Random(13)
    for _ in range(kills):
        kill_after(vllm_server, generator.randrange(images // kills - 10), folder, *options)
    assert batch(folder, *options).code == 0
    assert content(folder) == content(tmp_path / "whole")
    assert len({call.image.sha256 for call in vllm_server.calls if call.image}) == images
    assert len(vllm_server.calls) <= images + kills * 8  # the workers: 6 calls, and 2 images ahead


@pytest.mark.slow
def test_a_killed_run_that_overwrites_goes_on(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, *(f"{number}.jpg" for number in range(40)))
    options = (tmp_path, *at(vllm_server), "--concurrency", "2")
    assert batch(*options).code == 0
    for existing, temperature in (("overwrite", "0.5"), ("append", "0.6")):
        again = (*options, "--existing", existing, "--temperature", temperature, "--prefix", f"{existing}: ")
        vllm_server.calls.clear()
        kill_after(vllm_server, 20, *again)
        assert batch(*again).code == 0
        assert 40 <= len(vllm_server.calls) <= 44
    texts = {(tmp_path / f"{number}.txt").read_text() for number in range(40)}
    assert texts == {"overwrite: a alt_text, append: a alt_text"}
    assert batch(*options, "--existing", "overwrite", "--temperature", "0.6").code == 0
    assert len(vllm_server.calls) >= 80


@pytest.mark.parametrize(
    ("shard", "other", "code"),
    [
        ("all", ("--shard", "1/2"), 2),
        ("1of2", (), 2),
        ("1of2", ("--shard", "1/2"), 2),
        ("1of2", ("--shard", "2/2"), 0),
        ("all", ("--dry-run",), 0),
    ],
)
def test_runs_at_the_same_time(
    batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path, shard: str, other: tuple[str, ...], code: int
) -> None:
    """Only shards of different labels write to a folder at the same time, also while one of them joins its rows.

    The temporary files of the first run are kept as long as it runs.
    """
    photos(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    folder = Folder(LocalFileSystem(), str(tmp_path), shard)
    with Index(folder) as index:
        temporary = folder.temporary("metadata.jsonl")
        temporary.touch()
        for key in ("z.jpg", "a.jpg"):
            index.append(Row(key, "alt_text", "1-2-3", caption={"result": {}}))
        for _ in range(2):
            result = batch(tmp_path, *at(vllm_server), *other)
            assert (result.code, "Another run writes to" in result.err) == (code, code == 2), result.err
            assert temporary.exists()
            index.join()
    assert batch(tmp_path, *at(vllm_server), *(("--shard", "1/2") if shard == "1of2" else ())).code == 0
    assert not temporary.exists()


def test_a_copied_index_brings_no_old_captions_back(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "a.jpg")
    options = (tmp_path, *at(vllm_server), "--out", "hf-metadata")
    for extra in (("--shard", "1/1"), ("--existing", "overwrite", "--prefix", "new: "), ()):
        assert batch(*options, *extra).code == 0
        os.utime(tmp_path / ".graphcap-1of1.jsonl", (2**32, 2**32))
    assert lines(tmp_path / "metadata.jsonl") == [{"file_name": "a.jpg", "text": "new: a alt_text"}]


def test_rows_of_another_version(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    """Unknown fields are ignored. Rows without the known fields are, too: their images are captioned."""
    photos(tmp_path, *(f"{number}.jpg" for number in range(5)))
    options, index = (tmp_path, *at(vllm_server), "--out", "jsonl"), tmp_path / ".graphcap.jsonl"
    assert batch(*options).code == 0
    table = (tmp_path / "captions.jsonl").read_text()
    changes = ({"new_field": 1}, {"caption": None}, {"caption": {}}, {"text": 3}, {"time": "now"})
    rows = [row | change for row, change in zip(lines(index), changes, strict=True)]
    index.write_text("".join(f"{json.dumps(row)}\n" for row in [*rows, [], "key"]))
    result = batch(*options)
    assert (result.code, len(vllm_server.calls), "4 captioned, 1 skipped" in result.err) == (0, 9, True), result.err
    assert without_times(lines(tmp_path / "captions.jsonl")) == without_times(list(map(json.loads, table.splitlines())))


@pytest.mark.parametrize("has_time", [False, True])
def test_the_last_row_of_a_bucket_counts(tmp_path: Path, has_time: bool) -> None:
    """A row without a time has the time of its file."""
    names = (".graphcap.jsonl", ".graphcap-1of2.jsonl", ".graphcap/1.jsonl")
    folder = Folder(DirFileSystem(str(tmp_path)), "set")
    (tmp_path / "set/.graphcap").mkdir(parents=True)
    for last in names:
        for name in names:
            row = {"key": "a.jpg", "perspective": "alt_text", "content_key": "", "version": "", "text": name}
            times = {"time": 2 if name == last else 1} if has_time else {}
            (tmp_path / "set" / name).write_text(json.dumps({**row, "caption": {"result": {}}, **times}) + "\n")
            os.utime(tmp_path / "set" / name, (0, 2 if (name == last) != has_time else 1))
        with Index(folder) as index:
            row_read = index.row("a.jpg", "alt_text")
        assert isinstance(row_read, Row)
        assert row_read.text == last


def test_a_row_that_is_written_in_part(tmp_path: Path) -> None:
    folder, row = Folder(LocalFileSystem(), str(tmp_path)), Row("", "alt_text", caption={"result": {}})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Index(folder) as index:
        index.append(replace(row, key="a.jpg"))
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / ".graphcap.jsonl").stat().st_size + 40, hard))
        try:
            with pytest.raises(OSError, match="No space left"):
                index.append(replace(row, key="b.jpg"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        index.append(replace(row, key="c.jpg"))
    with Index(folder) as index:
        assert [key for key in ("a.jpg", "b.jpg", "c.jpg") if index.row(key, "alt_text")] == ["a.jpg", "c.jpg"]


def test_an_index_that_another_run_replaces(tmp_path: Path) -> None:
    """A preview reads the index while a run may join its rows in another order."""
    folder, row = Folder(LocalFileSystem(), str(tmp_path)), Row("", "alt_text", caption={"result": {}})
    with Index(folder) as index:
        for key in ("b.jpg", "a.jpg"):
            index.append(replace(row, key=key, text=key * 100))
        with Index(folder).reading() as preview:
            index.join()
            texts = {key: row.text for key in ("a.jpg", "b.jpg") if (row := preview.row(key, "alt_text"))}
    assert texts == {"a.jpg": "a.jpg" * 100, "b.jpg": "b.jpg" * 100}
