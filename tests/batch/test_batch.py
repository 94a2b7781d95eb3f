"""`graphcap batch` as its users see it: files, exit codes, calls."""

import fcntl
import json
import os
import signal
import threading
from contextlib import nullcontext
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from bridge.batch.folder import BatchError, Folder
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
    assert files(tmp_path) == {"a.txt", "b.txt", "page.txt", "renamed.txt", "metadata.jsonl"}


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
    ):
        result = batch(*inputs, *at(vllm_server))
        assert (result.code, sentence in result.err) == (2, True), result.err
    vllm_server.default = b.Status(401)
    for _ in range(2):  # the table of the first run is known in the second
        assert batch(url, *at(vllm_server), "--out", "txt", "csv").code == 4
    assert fs.exists(f"{bucket}/captions.csv")
    fs.rm(bucket, recursive=True)


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
    (tmp_path / "labels/metadata.jsonl").write_text("{}")
    (photos(tmp_path / "folder", "a.jpg") / "failures.jsonl").mkdir()
    (tmp_path / "list.jsonl").write_text('{"image": "fine/a.jpg", "size": 3}\n')
    with (tmp_path / "locked/.graphcap.jsonl").open("w") as index:
        fcntl.flock(index, fcntl.LOCK_EX)
        result = batch(tmp_path / (place or "fine"), *(option.replace("TMP", str(tmp_path)) for option in options))
    assert (result.code, sentence in result.err) == (4 if {"--url", "local"} & set(options) else 2, True), result.err
    theirs = {"twins/a.png", "text/a.txt", "list.jsonl", "locked/.graphcap.jsonl", "labels/metadata.jsonl"}
    assert files(tmp_path) == theirs


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
    result = batch(tmp_path, *at(vllm_server), "--out", "txt", "--ext", ".caption", "--output-dir", tmp_path / "out")
    assert result.code == 3
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
