"""Which images a batch captions: files, folders, patterns, lists, manifests and URLs."""

import json
import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import fsspec
import pytest

from bridge.batch.folder import file_info
from bridge.batch.inputs import natural
from tests.batch.conftest import Graphcap, at, files, lines, photos, picture
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.servers.loopback import LoopbackServer


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


def test_a_changed_file_of_equal_size_has_another_version() -> None:
    for name in ("mtime", "LastModified", "ETag", "etag", "blob_id", "xet_hash"):
        assert file_info({"size": 1, name: "a"}) != file_info({"size": 1, name: "b"})


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
