"""`graphcap batch` as its users see it: files, exit codes, calls."""

import fcntl
import json
import os
import signal
import sys
import threading
from contextlib import nullcontext
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from bridge.batch.folder import BatchError, Folder
from bridge.batch.inputs import natural
from bridge.batch.models import ImageItem
from bridge.batch.options import Options
from bridge.batch.outputs import Outputs
from tests.batch.conftest import Graphcap, at, files, lines, photos, picture, started
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.servers.loopback import LoopbackServer


def test_each_image_gets_a_sidecar_once(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "2.jpg", "10.jpg", "sub/a.jpg", ".hidden.jpg")
    (tmp_path / "notes.md").write_text("")
    result = batch(tmp_path, *at(vllm_server))
    assert (result.code, files(tmp_path)) == (0, {"2.txt", "10.txt", "sub/a.txt", "notes.md"})
    assert len(vllm_server.calls) == 3
    assert "3 captioned" in result.err
    again = batch(tmp_path, *at(vllm_server))
    assert (again.code, len(vllm_server.calls)) == (0, 3)
    assert "3 skipped" in again.err
    (tmp_path / "2.txt").unlink()
    restored = batch(tmp_path, *at(vllm_server), "--prefix", "ohwx, ")
    assert (restored.code, len(vllm_server.calls)) == (0, 3)
    assert (tmp_path / "2.txt").read_text().startswith("ohwx, ")


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


def test_words_of_others_survive(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    (tmp_path / "a.txt").write_bytes(b"caf\xe9 words")
    (tmp_path / "b.txt").write_bytes(b"old words")
    (tmp_path / "c.txt").write_bytes(b"")
    options = (tmp_path, *at(vllm_server), "--existing")
    assert batch(*options, "append").code == 0
    (tmp_path / "b.txt").write_text("edited")
    result = batch(*options, "stale", "--prefix", "ohwx ")
    assert (result.code, len(vllm_server.calls), "Warning (1 ×)" in result.err) == (0, 3, True), result.err
    assert "2 restored, 1 skipped" in result.err
    assert (tmp_path / "a.txt").read_bytes() == b"caf\xe9 words, ohwx a alt_text"
    assert [(tmp_path / f"{stem}.txt").read_text() for stem in "bc"] == ["edited", "ohwx a alt_text"]
    result = batch(*options, "stale", "--temperature", "0.5")
    assert (len(vllm_server.calls), (tmp_path / "a.txt").read_bytes()) == (5, b"caf\xe9 words, a alt_text")


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


def test_a_run_without_shard_retries_the_failures_of_shards(
    batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path
) -> None:
    photos(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "failures-of-mine.jsonl").touch()
    vllm_server.reply(b.Refusal())
    assert batch(tmp_path, *at(vllm_server), "--shard", "1/1").code == 3
    (failure,) = lines(tmp_path / "failures-1of1.jsonl")
    (tmp_path / failure["path"].replace("a.jpg", "b.txt").replace("b.jpg", "a.txt")).unlink()
    (tmp_path / "failures-1of2.jsonl").write_text(json.dumps({**failure, "path": "absent.jpg"}))
    assert batch(tmp_path, *at(vllm_server), "--retry-failed").code == 0
    assert len(vllm_server.calls) == 3
    assert files(tmp_path) == {"failures-of-mine.jsonl", "failures.jsonl", failure["path"].replace("jpg", "txt")}
    assert [line["path"] for line in lines(tmp_path / "failures.jsonl")] == ["absent.jpg"]


@pytest.mark.slow
@pytest.mark.parametrize("out", ["txt", "json"])
def test_another_perspective_makes_sidecars_stale(
    graphcap: Graphcap, vllm_server: OpenAIServer, tmp_path: Path, out: str
) -> None:
    photos(tmp_path, "a.jpg")
    sidecar = tmp_path / f"a.{out}"

    def run(perspective: str, *options: str) -> tuple[str, bool]:
        """Return the counts of the run, and whether it warns about other options."""
        result = graphcap("batch", tmp_path, *at(vllm_server), "--out", out, "-p", perspective, *options)
        assert (result.code, "differs from what this command wrote" in result.err) == (0, False), result.err
        return result.err.splitlines()[0], "An image was captioned with other options" in result.err

    assert run("alt_text") == ("1 captioned", False)
    assert run("training_caption") == ("0 captioned, 1 skipped", True)
    assert run("training_caption", "--existing", "stale") == ("1 captioned", False)
    assert "a caption" in sidecar.read_text()
    assert run("training_caption", "--existing", "stale") == ("0 captioned, 1 skipped", False)
    assert run("alt_text") == ("0 captioned, 1 skipped", True)
    assert run("alt_text", "--existing", "stale") == ("0 captioned, 1 restored", False)
    assert "a alt_text" in sidecar.read_text()


@pytest.mark.slow
def test_stale_makes_sidecars_agree(graphcap: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    """The text is of one perspective and the JSON of another one."""
    photos(tmp_path, "a.jpg")
    options, stale = (tmp_path, *at(vllm_server), "--out", "txt", "json"), ("--existing", "stale")
    for perspective, extra in (("alt_text", ()), ("training_caption", stale), ("alt_text", ()), ("alt_text", stale)):
        assert graphcap("batch", *options, "-p", perspective, *extra).code == 0
        caption = json.loads((tmp_path / "a.json").read_text())
        if perspective == "training_caption":
            (tmp_path / "a.txt").unlink()
    assert (caption["perspective"], (tmp_path / "a.txt").read_text()) == ("alt_text", "a alt_text")


def test_a_text_of_another_perspective_in_a_table(
    graphcap: Graphcap, vllm_server: OpenAIServer, tmp_path: Path
) -> None:
    photos(tmp_path, "a.jpg")
    for perspective in ("alt_text", "training_caption"):
        options = ("--out", "txt", "jsonl", "-p", perspective)
        assert graphcap("batch", tmp_path, *at(vllm_server), *options).code == 0
    (row,) = lines(tmp_path / "captions.jsonl")
    assert (row["text"], row["perspective"]) == ("a alt_text", "")


def test_sidecars_of_an_image_agree(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    """A missing sidecar is written from the index, also with another request."""
    photos(tmp_path, "a.jpg")
    options = (tmp_path, *at(vllm_server))
    assert batch(*options).code == 0
    result = batch(*options, "--out", "txt", "json", "--temperature", "0.5", "--prefix", "new: ")
    assert (result.code, len(vllm_server.calls), "1 restored" in result.err) == (0, 1, True), result.err
    assert "Warning (1 ×): An image was captioned with other options" in result.err
    caption = json.loads((tmp_path / "a.json").read_text())
    assert (caption["rendered"], (tmp_path / "a.txt").read_text()) == ("a alt_text", "a alt_text")
    assert "Warning (1 ×): An image was captioned" in batch(*options, "--temperature", "0.5").err
    assert "Warning" not in batch(*options).err


def test_another_image_with_the_same_name(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "one/a.jpg", "other/a.jpg")
    options = (*at(vllm_server), "--output-dir", tmp_path / "out")
    assert batch(tmp_path / "one", *options).code == 0
    assert "Warning" not in batch(tmp_path / "one", *options).err
    result = batch(tmp_path / "other", *options)
    assert "Warning (1 ×): The file of an image has changed since its caption" in result.err
    (tmp_path / "out/a.txt").unlink()
    assert "1 captioned" in batch(tmp_path / "other", *options).err
    assert len(vllm_server.calls) == 2


@pytest.mark.parametrize(
    ("existing", "content", "written"),
    [
        ("append", "a alt_texture", "a alt_texture, a alt_text"),
        ("prepend", "no a alt_text", "a alt_text, no a alt_text"),
        ("append", "by hand, a alt_text, words", "by hand, a alt_text, words"),
        ("append", "a alt_text", "a alt_text"),
    ],
)
def test_a_text_is_added_unless_the_sidecar_has_it(
    batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path, existing: str, content: str, written: str
) -> None:
    """A part of other words does not count."""
    photos(tmp_path, "a.jpg")
    options = (tmp_path, *at(vllm_server), "--existing", existing)
    assert batch(*options).code == 0
    (tmp_path / "a.txt").write_text(content)
    assert batch(*options).code == 0
    assert (len(vllm_server.calls), (tmp_path / "a.txt").read_text()) == (1, written)


@pytest.mark.slow
def test_existing_sidecars(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "a.jpg", "b.jpg")
    sidecar = tmp_path / "a.txt"
    sidecar.write_text("by hand")

    def run(existing: str, *options: str) -> tuple[int, str]:
        """Return the number of calls, and the sidecar."""
        before = len(vllm_server.calls)
        result = batch(tmp_path, *at(vllm_server), "--existing", existing, *options)
        assert result.code == 0, result.err
        return len(vllm_server.calls) - before, sidecar.read_text()

    assert run("stale") == (1, "by hand")
    text = (tmp_path / "b.txt").read_text()
    assert run("append") == (1, f"by hand, {text}")
    assert run("append") == (0, f"by hand, {text}")
    sidecar.write_text("by hand")
    assert run("prepend") == (0, f"{text}, by hand")
    assert run("skip") == (0, f"{text}, by hand")
    assert run("overwrite") == (2, text)
    assert run("stale", "--prefix", "ohwx ") == (0, f"ohwx {text}")
    assert run("stale", "--prefix", "ohwx ", "--temperature", "0.5") == (2, f"ohwx {text}")
    (tmp_path / "a.jpg").write_bytes(picture(9))
    (tmp_path / "b.jpg").touch()
    assert run("stale", "--prefix", "ohwx ", "--temperature", "0.5") == (1, f"ohwx {text}")


@pytest.mark.slow
def test_failures_are_listed_and_retried(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    """Runs for some of the images keep the failures and the table rows of the others."""
    photos(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "page.jpg").write_text("<html>")
    vllm_server.reply(b.Refusal())
    result = batch(tmp_path, *at(vllm_server))
    failures = {line.pop("path"): line for line in lines(tmp_path / "failures.jsonl")}
    refused = next(name for name in ("a.jpg", "b.jpg") if name in failures)
    codes = {name: failure["code"] for name, failure in failures.items()}
    assert (result.code, codes) == (
        3,
        {refused: "refused", "empty.jpg": "invalid_image", "page.jpg": "unsupported_image"},
    )
    assert (failures[refused]["attempts"], f"refused, for example {refused}" in result.err) == (1, True)
    (caption,) = files(tmp_path) - {"page.jpg", "empty.jpg", "failures.jsonl"}
    (tmp_path / caption).unlink()
    (tmp_path / "page.jpg").write_bytes(picture(1))
    table = ("--out", "txt", "hf-metadata")
    assert batch(tmp_path, *at(vllm_server), *table, "--retry-failed").code == 3
    assert files(tmp_path) == {refused.replace("jpg", "txt"), "page.txt", "failures.jsonl", "metadata.jsonl"}
    assert {row["file_name"] for row in lines(tmp_path / "metadata.jsonl")} == {"a.jpg", "b.jpg", "page.jpg"}
    assert batch(tmp_path, *at(vllm_server), *table, "--limit", "1").code == 0
    assert [row["path"] for row in lines(tmp_path / "failures.jsonl")] == ["empty.jpg"]
    assert len(lines(tmp_path / "metadata.jsonl")) == 3
    (tmp_path / "empty.jpg").rename(tmp_path / "renamed.jpg")
    assert "'empty.jpg' failed, but is not in the inputs" in batch(tmp_path, *at(vllm_server), "--retry-failed").err
    (tmp_path / "renamed.txt").write_text("by hand")
    assert batch(tmp_path, *at(vllm_server)).code == 0
    assert [row["path"] for row in lines(tmp_path / "failures.jsonl")] == ["empty.jpg"]
    assert files(tmp_path) == {"a.txt", "b.txt", "page.txt", "renamed.txt", "metadata.jsonl", "failures.jsonl"}


@pytest.mark.slow
def test_failures_of_other_images_are_kept(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "a.jpg", "sub/b.jpg", "sub/c.jpg")
    (tmp_path / "a.jpg").touch()
    for name in ("a.jpg", "sub/b.jpg"):
        (tmp_path / name).write_bytes(b"")
    options = (*at(vllm_server), "--output-dir", tmp_path / "out")
    failures = tmp_path / "out/failures.jsonl"
    assert batch(tmp_path, *options).code == 3
    (tmp_path / "sub/b.jpg").write_bytes(picture(1))
    for inputs in ((tmp_path / "a.jpg",), (tmp_path / "*.jpg", tmp_path / "sub/c.jpg")):
        assert batch(*inputs, *options).code == 3
        assert [row["path"] for row in lines(failures)] == ["sub/b.jpg", "a.jpg"]
    assert batch(tmp_path, *options, "--retry-failed").code == 3
    assert [row["path"] for row in lines(failures)] == ["a.jpg"]


@pytest.mark.slow
def test_inputs(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "a.jpg", "b.jpg", "sub/c.jpg", "name[1].jpg")
    manifest = tmp_path / "list.jsonl"
    manifest.write_text('{"image": "sub/c.jpg", "language": "Dutch", "context": ["At the harbour."]}\n')
    cases = [
        ((tmp_path, "--flat"), b"", {"a", "b", "name[1]"}),
        ((tmp_path / "*.jpg",), b"", {"a", "b", "name[1]"}),
        ((tmp_path / "**" / "*.jpg",), b"", {"a", "b", "name[1]", "sub/c"}),
        ((tmp_path / "name[1].jpg", tmp_path / "sub"), b"", {"name[1]", "sub/c"}),
        (("-",), f"{tmp_path}/a.jpg\r\n{tmp_path}/sub/c.jpg".encode(), {"a", "sub/c"}),
        (("-",), f"{tmp_path}/a.jpg\0{tmp_path}/b.jpg\0".encode(), {"a", "b"}),
        ((manifest,), b"", {"sub/c"}),
        ((tmp_path, "--limit", "2"), b"", {"a", "b"}),
        ((f"file://{tmp_path}", "--limit", "1"), b"", {"a"}),
    ]
    for inputs, stdin, stems in cases:
        result = batch(*inputs, *at(vllm_server), stdin=stdin)
        assert (result.code, files(tmp_path) - {"list.jsonl"}) == (0, {f"{stem}.txt" for stem in stems}), result.err
        for stem in stems:
            (tmp_path / f"{stem}.txt").unlink()
        (tmp_path / ".graphcap.jsonl").unlink(missing_ok=True)
    prompts = [call.prompt for call in vllm_server.calls if "At the harbour." in call.prompt]
    assert len(prompts) == 1
    assert "Dutch" in prompts[0]


@pytest.mark.slow
def test_several_inputs_on_one_file_system(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "in/a.jpg", "in/sub/b.jpg")
    fs, bucket = fsspec.filesystem("memory"), f"/{tmp_path.name}"
    fs.put(f"{tmp_path}/in", bucket, recursive=True)
    url = f"memory:/{bucket}"
    rows = [json.dumps({"image": name}) for name in (f"{url}/a.jpg", f"{url}/sub/b.jpg")]
    (tmp_path / "list.jsonl").write_text("\n".join(rows))
    (tmp_path / "link").symlink_to(tmp_path / "in/sub")
    cases = [
        ((f"{url}/a.jpg", f"{url}/sub"), {"a.txt", "sub/b.txt"}),
        ((tmp_path / "link/../a.jpg",), {"a.txt"}),
        ((tmp_path / "in/*.jpg", tmp_path / "in/*.png"), {"a.txt"}),
        ((f"{url}/sub", f"{url}/sub"), {"b.txt"}),
        ((tmp_path / "list.jsonl",), {"a.txt", "sub/b.txt"}),
        ((f"file://{tmp_path}/in/sub", tmp_path / "in/a.jpg"), {"a.txt", "sub/b.txt"}),
        ((tmp_path / "in/sub/../a.jpg", tmp_path / "in", f"file://{tmp_path}/in/../in"), {"a.txt", "sub/b.txt"}),
    ]
    for number, (inputs, names) in enumerate(cases):
        out = tmp_path / str(number)
        result = batch(*inputs, *at(vllm_server), "--output-dir", out)
        assert (result.code, files(out)) == (0, names), result.err
    for inputs, sentence in (
        ((f"{url}/sub", tmp_path / "in"), "is on another file system"),
        (("memory://", f"{url}/sub"), "no folder in common"),
        (("https://127.0.0.1/a/../../b.jpg", "--output-dir", tmp_path / "web"), "contains '..'"),
        ((f"{url}/a::b.jpg",), "a chain of URLs"),
        (("",), "An input is empty"),
        (("https://[bad/a.jpg",), "'https://[bad/a.jpg' is not a valid URL"),
        (("https://a.test/a.jpg#x", "http://a.test/a.jpg"), "have the same path in the outputs, 'a.test/a.jpg'"),
    ):
        result = batch(*inputs, *at(vllm_server))
        assert (result.code, sentence in result.err) == (2, True), result.err
    vllm_server.default = b.Status(401)
    for _ in range(2):  # the table of the first run is known in the second
        assert batch(url, *at(vllm_server), "--out", "txt", "csv").code == 4
    assert fs.exists(f"{bucket}/captions.csv")
    fs.rm(bucket, recursive=True)


def test_names_in_a_list_are_not_patterns(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "a.jpg")
    (tmp_path / "list.jsonl").write_text('{"image": "*.jpg"}')
    for inputs, stdin in ((tmp_path / "list.jsonl", b""), ("-", f"{tmp_path}/*.jpg".encode())):
        result = batch(inputs, *at(vllm_server), stdin=stdin)
        assert (result.code, "There is no file or folder" in result.err) == (2, True), result.err


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (['{"image": "a.jpg"}'] * 2, "names '{folder}/a.jpg' twice"),
        (["", '{"image": ""}'], "Line 2 of '{folder}/list.jsonl' is not a JSON object that names an image"),
        (['{"image": null}'], "is not a JSON object that names an image"),
        (['{"url": 3}'], "is not a JSON object that names an image"),
        (['["image"]'], "is not a JSON object that names an image"),
        (["[" * 100_000], "is not a JSON object that names an image"),
        (['{"image": "a.jpg", "context": 3}'], "has a 'context' that is neither a text nor a list of texts"),
        (['{"image": "a.jpg", "context": ["a", 3]}'], "has a 'context' that is neither"),
        (['{"image": "a.jpg", "context": "%s"}' % ("x" * 200_001)], "list.jsonl': The request is not valid. context"),
        (['{"image": "a.jpg", "language": "%s"}' % ("x" * 200_001)], "is not valid. variables/language"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_mistake_in_a_manifest(batch: Graphcap, tmp_path: Path, rows: list[str], sentence: str) -> None:
    photos(tmp_path, "a.jpg")
    (tmp_path / "list.jsonl").write_text("\n".join(rows))
    result = batch(tmp_path / "list.jsonl")
    assert (result.code, sentence.format(folder=tmp_path) in result.err) == (2, True), result.err


def test_a_manifest_and_its_folder(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    """The row of the manifest counts, whatever the order of the inputs."""
    photos(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "list.jsonl").write_text('{"image": "a.jpg", "context": "At the harbour."}')
    inputs = [tmp_path, tmp_path / "list.jsonl"]
    for number, order in enumerate((inputs, inputs[::-1])):
        assert batch(*order, *at(vllm_server), "--output-dir", tmp_path / f"{number}").code == 0
    assert ["At the harbour." in call.prompt for call in vllm_server.calls].count(True) == 2
    assert len(vllm_server.calls) == 4


def test_outputs_among_the_inputs(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    """A shell replaces `photos/*` by the names of all files."""
    photos(tmp_path, "a.jpg")
    (tmp_path / "b.jpg").touch()
    for _ in range(2):
        result = batch(*tmp_path.glob("[!.]*"), *at(vllm_server), "--out", "txt", "jsonl", "hf-metadata")
        assert (result.code, len(vllm_server.calls)) == (3, 1), result.err
    assert "Ignored files: sidecars: 4" in result.err
    other = photos(tmp_path / "other", "c.jpg") / "metadata.jsonl"
    other.write_text('{"file_name": "c.jpg"}')
    for summary in ("1 captioned", "0 captioned, 1 skipped"):
        assert batch(other, *at(vllm_server)).err.splitlines()[0] == summary


def test_ignored_files_and_folders(
    batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos(tmp_path, "a.jpg", ".hidden.jpg")
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        for _ in range(20):  # longer than a path may be, so that the folder cannot be read
            os.mkdir("x" * 250)
            os.chdir("x" * 250)
    result = batch(tmp_path, *at(vllm_server))
    assert (result.code, "Ignored files: unreadable folders: 1, hidden: 1" in result.err) == (0, True), result.err
    pattern = batch(tmp_path / "*.jpg", *at(vllm_server))
    assert (pattern.code, "Ignored" in pattern.err) == (0, False)


def test_numbers_in_names_are_ordered_by_value() -> None:
    names = ["1" * 5000, "10", "2", "02", "1a", "b"]
    assert sorted(names, key=natural) == ["1a", "02", "2", "10", "1" * 5000, "b"]


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


def test_several_perspectives_share_one_image(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "a.jpg")
    options = ("-p", "training_tags", "--out", "txt", "hf-metadata", "--trigger", "ohwx")
    assert "does not read" not in batch(tmp_path, *at(vllm_server), "--for", "kohya", "--dry-run").err
    result = batch(tmp_path, *at(vllm_server), *options, "--for", "kohya")
    assert (result.code, result.err.count("kohya does not read 'a.training_tags.txt'")) == (0, 1)
    assert files(tmp_path) == {"a.alt_text.txt", "a.training_tags.txt", "metadata.jsonl"}
    assert lines(tmp_path / "metadata.jsonl")[0].keys() == {"file_name", "alt_text", "training_tags"}
    assert len(vllm_server.calls) == 2


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


MISTAKES = [
    ((), "absent", "There is no file or folder"),
    (("-p", "alt_txt"), "", "Did you mean 'alt_text'?"),
    (("-p", "alt_text"), "", "Two perspectives have the same name: alt_text, alt_text."),
    (("--template", "{nothing}"), "", "'nothing' is not a field"),
    (("--set", "place=Lisbon"), "", "no variable place"),
    (("--provider", "opnai"), "", "Did you mean 'openai'?"),
    (("--provider", "vllm"), "", "No model is set"),
    (("--shard", "9/8"), "", "9/8"),
    (("--replace", "x"), "", "'x' is not of the form FROM=TO"),
    (("--output-dir", "/proc/none"), "", "cannot be written"),
    (("--url", "http://127.0.0.1:9"), "", "cannot be reached"),
    (("--api-key", "secret-key-1"), "", "requires --url"),
    (("--out", "hf-metadata"), "labels", "metadata.jsonl' was not written by this command"),
    (("--shard", "3/4"), "twins", "a.jpg and a.png"),
    ((), "*.jpg", "without a match: 1). In patterns"),
    (("--out", "json", "--existing", "append"), "", "add --out txt"),
    (("--ext", ".JPG"), "", "cannot have the extension '.JPG'"),
    (("--ext", "jsonl"), "", "cannot have the extension '.jsonl'"),
    (("--ext", "../x"), "", "contains a slash"),
    (("--report", "TMP/text/a.txt", "--dry-run"), "", "a.txt' is not a report"),
    (("--report", "TMP/report.html"), "locked", "Another run writes to"),
    (("--give-up-after", "nan"), "", "'nan' is not a number of seconds"),
    (("--output-dir", "az://out"), "", "requires a package: Install adlfs"),
    (("--output-dir", "nothing://out"), "", "Protocol not known"),
    (("--provider", "local"), "", "or add --yes to download it"),
    ((), "twins", "a.jpg and a.png"),
    (("--out", "txt", "json", "--ext", ".p.json"), "formats", "a.jpg and a.p.jpg"),
    ((), "list.jsonl", "'size'"),
    ((), "text", "There is no image"),
    ((), "folder", "failures.jsonl' cannot be read: Is a directory."),
    ((), "locked", "Another run writes to"),
]


@pytest.mark.parametrize(("options", "place", "sentence"), MISTAKES, ids=[f"{row[1]}{row[0]}" for row in MISTAKES])
def test_a_mistake_is_one_sentence_before_the_first_call(
    batch: Graphcap, tmp_path: Path, options: tuple[str, ...], place: str, sentence: str
) -> None:
    photos(tmp_path, "fine/a.jpg", "twins/a.jpg", "twins/a.png", "locked/a.jpg", "labels/a.jpg", "text/a.txt")
    photos(tmp_path, "formats/a.jpg", "formats/a.p.jpg")
    (tmp_path / "labels/metadata.jsonl").write_text("{}")
    (tmp_path / "labels/.graphcap.jsonl").touch()
    (photos(tmp_path / "folder", "a.jpg") / "failures.jsonl").mkdir()
    (tmp_path / "list.jsonl").write_text('{"image": "fine/a.jpg", "size": 3}\n')
    with (tmp_path / "locked/.graphcap.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = batch(tmp_path / (place or "fine"), *(option.replace("TMP", str(tmp_path)) for option in options))
    assert (result.code, sentence in result.err) == (4 if {"--url", "local"} & set(options) else 2, True), result.err
    theirs = {"locked/.graphcap.lock", "labels/metadata.jsonl", "labels/.graphcap.jsonl"}
    assert files(tmp_path) == {"twins/a.png", "text/a.txt", "list.jsonl", *theirs}


def test_a_package_that_is_not_installed(batch: Graphcap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = batch(photos(tmp_path, "a.jpg"), "--out", "txt", "parquet", "--dry-run")
    assert (result.code, "graphcap-bridge[parquet]" in result.err) == (2, True), result.err


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


def test_limits_end_the_run(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, *(f"{number}.jpg" for number in range(12)))
    vllm_server.default = b.Hold(b.Refusal())
    release = threading.Thread(target=lambda: (vllm_server.wait_for_calls(4), vllm_server.release()))
    release.start()
    result = batch(tmp_path, *at(vllm_server), "--max-failures", "2", "--concurrency", "4", "--json")
    release.join()
    finished = json.loads(result.out.splitlines()[-1])
    assert (result.code, 4 <= finished["totals"]["failed"] < 12) == (4, True)
    assert finished["reason"] == f"{finished['totals']['failed']} failed captions (--max-failures 2)."
    vllm_server.default = b.Status(401)
    result = batch(tmp_path, *at(vllm_server))
    assert (result.code, "API key" in result.err) == (4, True)
    (tmp_path / "failures.jsonl").unlink()
    vllm_server.default = b.Answer()
    vllm_server.reply(b.Status(401), b.Answer())
    result = batch(tmp_path, *at(vllm_server), "-p", "training_tags", "--limit", "1", "--json")
    types = [json.loads(line)["type"] for line in result.out.splitlines()]
    assert (result.code, types.count("captioned"), types.count("failed")) == (4, 1, 1)
    (sidecar,) = files(tmp_path) - {"failures.jsonl"}
    (tmp_path / sidecar).unlink()
    assert files(tmp_path) == {"failures.jsonl"}


def test_odd_names_and_files(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    long = "x" * 251
    names = ["new\nline.jpg", " space .jpg", "A.jpg", "a.jpg", "a::b.jpg", "~home.jpg", "é%20#?.jpg", f"{long}.jpg"]
    photos(tmp_path, *names)
    bad = os.fsencode(tmp_path) + b"/latin\xe9.jpg"
    with open(bad, "wb") as file:
        file.write(picture(50))
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "nothing")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    result = batch(tmp_path, *at(vllm_server), "--out", "txt", "hf-metadata", "csv", "--json")
    assert result.code == 0, result.err
    events = [json.loads(line) for line in result.out.splitlines()]
    assert events[-1]["totals"]["captioned"] == len(names) + 2
    for name in names:
        assert (tmp_path / f"{name.removesuffix('.jpg')}.txt").exists(), name
    assert os.path.exists(bad.replace(b".jpg", b".txt"))
    assert [row["file_name"] for row in lines(tmp_path / "metadata.jsonl")].count(os.fsdecode(b"latin\xe9.jpg")) == 1
    short = (tmp_path, *at(vllm_server), "--out", "txt", "csv", "--ext", ".caption", "--output-dir", tmp_path / "out")
    for existing in ("skip", "stale"):
        assert batch(*short, "--existing", existing).code == 3
    assert (tmp_path / "out/captions.csv").exists()
    (failure,) = lines(tmp_path / "out/failures.jsonl")
    assert (failure["path"], failure["code"]) == (f"{long}.jpg", "output_name_too_long")


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


def test_images_that_change_during_the_run(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg")

    def change() -> None:
        vllm_server.wait_for_calls(1)
        (tmp_path / "d.jpg").unlink()
        (tmp_path / "c.jpg").write_bytes(picture(7))
        vllm_server.release()

    vllm_server.reply(b.Hold())
    thread = threading.Thread(target=change)
    thread.start()
    options = (tmp_path, *at(vllm_server), "--concurrency", "1", "--out", "json")
    assert batch(*options).code == 3
    thread.join()
    (failure,) = lines(tmp_path / "failures.jsonl")
    assert (failure["path"], failure["code"]) == ("d.jpg", "image_not_found")
    sent = [call.image.sha256 for call in vllm_server.calls]  # in the order in which the images were ready
    stored = [json.loads((tmp_path / f"{stem}.json").read_text())["provenance"]["sha256"] for stem in "abc"]
    assert sorted(stored) == sorted(sent)


@pytest.mark.slow
def test_a_run_pauses_with_a_provider_and_gives_up(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "a.jpg", "b.jpg")
    down = (b.Status(503, retry_after=0.01),) * 3
    vllm_server.reply(*down, *down)
    result = batch(tmp_path, *at(vllm_server), "--json")
    types = [json.loads(line)["type"] for line in result.out.splitlines()]
    assert (result.code, files(tmp_path)) == (0, {"a.txt", "b.txt"}), result.err
    assert (types.count("paused"), types.count("resumed"), types.count("failed")) == (1, 1, 0)
    photos(tmp_path / "more", "c.jpg")
    vllm_server.default = b.Status(503, retry_after=0.01)
    result = batch(tmp_path, *at(vllm_server), "--give-up-after", "0.1")
    assert (result.code, "--give-up-after" in result.err, "continues with" in result.err) == (4, True, True)
    assert files(tmp_path) == {"a.txt", "b.txt"}


@pytest.mark.parametrize(("number", "signals"), [(signal.SIGINT, 1), (signal.SIGHUP, 1), (signal.SIGINT, 2)])
@pytest.mark.slow
def test_an_interrupt_finishes_the_calls_in_flight(
    vllm_server: OpenAIServer, tmp_path: Path, number: signal.Signals, signals: int
) -> None:
    photos(tmp_path, *(f"{number}.jpg" for number in range(20)))
    vllm_server.default = b.Hold()
    with started(tmp_path, *at(vllm_server), "--concurrency", "3") as process:
        vllm_server.wait_for_calls(3)
        for _ in range(signals):
            process.send_signal(number)
            assert process.stderr is not None
            if signals == 2:
                process.stderr.readline()
        if signals == 1:
            assert "Finishing the calls in flight" in process.stderr.readline()
            vllm_server.release()
        assert process.wait(60) == 130
    assert len(vllm_server.calls) == 3
    assert len(files(tmp_path)) == (3 if signals == 1 else 0)


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--json",), ("--dry-run",)])
def test_a_reader_that_ends(vllm_server: OpenAIServer, tmp_path: Path, options: tuple[str, ...]) -> None:
    """As after `| head -1`, the calls in flight are finished, and nothing is printed."""
    photos(tmp_path, *(f"{number}.jpg" for number in range(20)))
    vllm_server.default = b.Hold()
    context = "A long line. " * 9_000  # three of them do not fit into a pipe
    with started(tmp_path, *at(vllm_server), "--concurrency", "3", "--context", context, *options) as process:
        assert process.stdout is not None
        process.stdout.readline()
        if "--json" in options:
            vllm_server.wait_for_calls(3)
        process.stdout.close()
        vllm_server.release()
        assert process.wait(60) == 1
        assert process.stderr is not None
        assert process.stderr.read() == ""
    sidecars = len(files(tmp_path))
    assert sidecars == len(vllm_server.calls)
    assert (3 <= sidecars < 20) == ("--json" in options)


@pytest.mark.slow
def test_a_closed_standard_error_does_not_change_the_exit_code(vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "a.jpg", "b.jpg")
    with started(tmp_path, *at(vllm_server)) as process:
        assert process.stderr is not None
        process.stderr.close()
        assert process.wait(60) == 0
    assert files(tmp_path) == {"a.txt", "b.txt"}


@pytest.mark.slow
def test_a_run_without_standard_streams(vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "a.jpg")
    closed = ("sh", "-c", '"$@" <&- >&- 2>&-', "sh")
    with started(tmp_path, *at(vllm_server), "--json", before=closed) as process:
        assert process.wait(60) == 0
    assert files(tmp_path) == {"a.txt"}


@pytest.mark.slow
def test_an_interrupt_ends_the_wait_for_a_list() -> None:
    with started("-") as process:
        assert process.stdin is not None
        process.stdin.write("\n" * 100_000)  # more than a pipe holds: the command reads
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.slow
def test_an_interrupt_ends_a_paused_run(vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, *(f"{number}.jpg" for number in range(5)))
    vllm_server.reply(b.Answer())  # for one perspective of an image whose other one waits for the provider
    vllm_server.default = b.Status(503, retry_after=0.01)
    with started(tmp_path, *at(vllm_server), "-p", "training_tags", "--concurrency", "1", "--json") as process:
        assert process.stdout is not None
        next(line for line in process.stdout if json.loads(line)["type"] == "paused")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert len(files(tmp_path)) == 1


def test_what_would_be_done(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, *(f"{number}.jpg" for number in range(5)))
    (tmp_path / "0.txt").write_text("by hand")
    (tmp_path / "1.txt").touch()
    result = batch(tmp_path, *at(vllm_server), "--set", "language=Dutch", "--dry-run")
    assert (result.code, vllm_server.requests, files(tmp_path)) == (0, [], {"0.txt", "1.txt"})
    assert result.out.count("Dutch") == 3
    assert "5 images, 4 captions to make with vllm/tiny-vision" in result.out
    assert "price not known" in result.out
    again = batch(tmp_path, *at(vllm_server), "--existing", "overwrite", "--dry-run")
    assert "5 images, 5 captions to make" in again.out
    costly = batch(tmp_path, *at(vllm_server), "--max-cost", "1")
    assert (costly.code, "not known" in costly.err) == (2, True)


@pytest.mark.slow
def test_a_preview_counts_what_a_run_would_do(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    """It changes no file."""
    photos(tmp_path / "in", "a.jpg", "b.jpg", "c.jpg")
    options = (tmp_path / "in", *at(vllm_server), "--output-dir", tmp_path / "out")
    assert "3 captions to make" in batch(*options, "--dry-run").out
    assert not (tmp_path / "out").exists()
    assert batch(*options).code == 0
    (tmp_path / "out/a.txt").unlink()
    (tmp_path / "out/b.txt").write_text("by hand")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    for extra, number in (
        ((), 0),
        (("--out", "csv"), 0),
        (("--existing", "stale"), 0),
        (("--existing", "stale", "--prefix", "x"), 0),
        (("--existing", "stale", "--temperature", "0.5"), 2),
        (("--existing", "overwrite"), 3),
    ):
        preview = batch(*options, *extra, "--dry-run")
        assert (preview.code, f"3 images, {number} captions to make" in preview.out) == (0, True), preview.out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before
    absent = batch(tmp_path / "in", "--output-dir", tmp_path / "in/a.jpg/out", "--dry-run")
    assert (absent.code, "cannot be written" in absent.err) == (2, True)


def test_images_on_the_web(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path / "served", "a.jpg")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with LoopbackServer(handler) as server:
        images = {"GRAPHCAP_IMAGE_URLS": "listed", "GRAPHCAP_IMAGE_URL_ALLOW": "127.0.0.1"}
        options = (f"{server.url}/a.jpg", f"{server.url}/absent.jpg", *at(vllm_server))
        assert "--output-dir" in batch(*options, **images).err
        result = batch(*options, "--output-dir", tmp_path / "out", **images)
    assert result.code == 3, result.err
    place = server.url.removeprefix("http://")
    assert files(tmp_path / "out") == {f"{place}/a.txt", "failures.jsonl"}
    (failure,) = lines(tmp_path / "out/failures.jsonl")
    assert (failure["path"], failure["code"]) == (f"{place}/absent.jpg", "image_unreachable")
