"""The sidecars and tables that a batch writes, and the files of others that it keeps."""

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem

from bridge.batch.folder import BatchError, Folder
from bridge.batch.models import ImageItem
from bridge.batch.options import Options
from bridge.batch.outputs import Outputs
from tests.batch.conftest import Graphcap, at, files, lines, photos, started
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.tools import need_namespaces


@pytest.mark.slow
def test_every_output(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path / "in", "2.jpg", "10.jpg", "sub/a.jpg")
    out = tmp_path / "out"
    formats = ("txt", "json", "jsonl", "csv", "parquet", "hf-metadata")
    result = batch(tmp_path / "in", *at(vllm_server), "--ext", "caption", "--output-dir", out, "--out", *formats)
    assert result.code == 0
    tables = {"captions.jsonl", "captions.csv", "captions.parquet", "metadata.jsonl"}
    stems = ("2", "10", "sub/a")
    assert files(out) == tables | {f"{stem}{ext}" for stem in stems for ext in (".caption", ".json")}
    assert files(tmp_path / "in") == set()
    caption = json.loads((out / "2.json").read_text())
    assert caption["provenance"].keys() == {"perspective_digest", "sha256", "bridge_version", "time"}
    rows = lines(out / "captions.jsonl")
    assert [row["file_name"] for row in rows] == ["2.jpg", "10.jpg", "sub/a.jpg"]
    assert rows[0]["caption"] == caption
    assert lines(out / "metadata.jsonl")[2] == {"file_name": "sub/a.jpg", "text": rows[2]["text"]}
    import pyarrow.parquet as pq

    assert pq.read_table(out / "captions.parquet").column("text").to_pylist() == [row["text"] for row in rows]
    assert batch(tmp_path / "in", *at(vllm_server), "--for", "hf").code == 0
    from datasets import load_dataset

    read = load_dataset("imagefolder", data_dir=str(tmp_path / "in"), cache_dir=str(tmp_path / "cache"))["train"]
    assert read["text"] == [row["text"] for row in rows]
    assert sorted(image.size for image in read["image"]) == [(16, 16), (17, 16), (18, 16)]


def test_several_perspectives_share_one_image(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "a.jpg")
    options = ("-p", "training_tags", "--out", "txt", "hf-metadata", "--trigger", "ohwx")
    assert "does not read" not in batch(tmp_path, *at(vllm_server), "--for", "kohya", "--dry-run").err
    result = batch(tmp_path, *at(vllm_server), *options, "--for", "kohya")
    assert (result.code, result.err.count("kohya does not read 'a.training_tags.txt'")) == (0, 1)
    assert files(tmp_path) == {"a.alt_text.txt", "a.training_tags.txt", "metadata.jsonl"}
    assert lines(tmp_path / "metadata.jsonl")[0].keys() == {"file_name", "alt_text", "training_tags"}
    assert len(vllm_server.calls) == 2


@pytest.mark.slow
def test_two_shards_are_one_run(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(20)]
    for folder, runs in (("whole", [()]), ("parts", [("--shard", "1/2"), ("--shard", "2/2"), ()])):
        photos(tmp_path / folder, *names)
        for options in runs:
            assert batch(tmp_path / folder, *at(vllm_server), "--out", "txt", "hf-metadata", *options).code == 0
    assert len(vllm_server.calls) == 40
    whole, parts = files(tmp_path / "whole"), files(tmp_path / "parts")
    assert parts - whole == {"metadata-1of2.jsonl", "metadata-2of2.jsonl"}
    assert whole < parts
    for name in whole:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    for shard in ("1/2", "2/2"):
        again = ("--shard", shard, "--existing", "overwrite", "--prefix", "new: ")
        assert batch(tmp_path / "parts", *at(vllm_server), *again).code == 0
    assert batch(tmp_path / "parts", *at(vllm_server), "--out", "hf-metadata").code == 0
    assert all(row["text"].startswith("new: ") for row in lines(tmp_path / "parts/metadata.jsonl"))


def test_a_text_of_another_perspective_in_a_table(
    graphcap: Graphcap, vllm_server: OpenAIServer, tmp_path: Path
) -> None:
    photos(tmp_path, "a.jpg")
    for perspective in ("alt_text", "training_caption"):
        options = ("--out", "txt", "jsonl", "-p", perspective)
        assert graphcap("batch", tmp_path, *at(vllm_server), *options).code == 0
    (row,) = lines(tmp_path / "captions.jsonl")
    assert (row["text"], row["perspective"]) == ("a alt_text", "")


@pytest.mark.parametrize("first", [(), ("--for", "kohya")])
def test_a_trainer_gets_no_empty_file(
    batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path, first: tuple[str, ...]
) -> None:
    """Also if the empty text comes from the index."""
    photos(tmp_path, "a.jpg")
    options = (tmp_path, *at(vllm_server), "--drop-tags", "a alt_text")
    assert batch(*options, *first).code == (3 if first else 0)
    (tmp_path / "a.txt").unlink(missing_ok=True)
    result = batch(*options, "--for", "kohya")
    assert (result.code, "Check --template" in result.err) == (3, True), result.err
    assert files(tmp_path) == {"failures.jsonl"}
    assert [row["code"] for row in lines(tmp_path / "failures.jsonl")] == ["empty_caption"]
    assert batch(*options[:-2], "--for", "kohya").code == 0
    assert files(tmp_path) == {"a.txt"}


@pytest.mark.slow
def test_files_of_others_survive(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "a.jpg", "b.jpg")
    options = (tmp_path, *at(vllm_server), "--out", "txt", "json", "hf-metadata")
    vllm_server.reply(*[b.Status(401)] * 2)
    assert batch(*options).code == 4
    assert files(tmp_path) == {"failures.jsonl"}
    theirs = tmp_path / "a.json"
    for existing in ("append", "stale"):
        for name in ("a.json", "captions.csv"):
            (tmp_path / name).write_text("by hand")
        assert batch(*options, "--existing", existing).code == 0
        assert (theirs.read_text(), (tmp_path / "b.json").stat().st_size > 9) == ("by hand", True)
        result = batch(*options, "csv")
        assert (result.code, "captions.csv' was not written by this command" in result.err) == (2, True), result.err
        for name in (".graphcap.jsonl", "a.txt", "b.txt", "b.json"):
            (tmp_path / name).unlink()
    for extra in (("--existing", "overwrite"), ()):
        assert batch(*options, "csv", *extra).code == 0
    assert json.loads(theirs.read_text())["provenance"]


@pytest.mark.parametrize("name", ["captions.csv", "sub/d.txt"])
def test_an_output_that_cannot_be_written(
    batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path, name: str
) -> None:
    photos(tmp_path, "sub/d.jpg")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / name).mkdir()
    result = batch(tmp_path, *at(vllm_server), "--out", "txt", "csv", "--existing", "overwrite")
    assert (result.code, f"'{tmp_path / name}' cannot be written: Is a directory." in result.err) == (1, True), (
        result.err
    )
    assert (tmp_path / "failures.jsonl").exists()


class CaseInsensitiveFolder(Folder):
    """A folder in which names that differ only in case are names of one file."""

    def path(self, name: str) -> str:
        return super().path(name.lower())


def test_twins_on_a_file_system_that_ignores_case(tmp_path: Path) -> None:
    twins = [ImageItem(key, "") for key in ("A.jpg", "a.jpg")]
    for kind, is_refused in ((Folder, False), (CaseInsensitiveFolder, True)):
        outputs = Outputs(kind(LocalFileSystem(), str(tmp_path)), Options((), ()), ("alt_text",))
        with pytest.raises(BatchError, match=r"A\.jpg and a\.jpg") if is_refused else nullcontext():
            outputs.check(twins)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("disk", "code", "sentence"), [("size=80k", 1, "No space left on device"), ("ro", 2, "Read-only file system")]
)
def test_a_disk_that_is_full_or_read_only(
    vllm_server: OpenAIServer, tmp_path: Path, disk: str, code: int, sentence: str
) -> None:
    """The run ends with what is done kept. When the disk can be written, the same command does the rest."""
    need_namespaces()
    photos(tmp_path / "in", *(f"{number}.jpg" for number in range(20)))
    script = (
        'folder=$0; mount -t tmpfs -o "$1" none "$folder" && shift && { "$@"; code=$?; echo $code; ls "$folder"; } &&'
        'mount -o remount,rw,size=9m "$folder" && "$@"; ls "$folder"'
    )
    (tmp_path / "out").mkdir()
    options = (tmp_path / "in", *at(vllm_server), "--output-dir", tmp_path / "out", "--concurrency", "1")
    before = ("unshare", "--mount", "sh", "-c", script, tmp_path / "out", disk)
    with started(*options, before=before) as process:
        out, err = process.communicate(timeout=120)
    first, *names = out.split()
    assert (int(first), sentence in err) == (code, True), err
    assert len(set(names)) == 20, err
    assert (len(names) > 20) == (disk != "ro")
    assert len(vllm_server.calls) <= 20 + 3
