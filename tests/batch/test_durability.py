"""Runs that are killed, that share a bucket, that go through a service: the files are those of one run."""

import asyncio
import json
import os
import random
import resource
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import httpx2
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

from bridge.batch import caption_rows, open_job
from bridge.batch.folder import Folder, file_info
from bridge.batch.index import Index
from bridge.batch.models import ImageItem, Row
from bridge.batch.options import Options
from bridge.batch.run import Batch
from bridge.batch.start import prepared
from bridge.captioning.services import open_services
from bridge.settings import load
from perspectives import catalog
from tests.batch.conftest import Graphcap, at, files, lines, photos, picture, started
from tests.local.hub import Hub
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.servers.loopback import Handler, LoopbackServer
from tests.service import Service
from tests.tools import need_namespaces

TIMES = ("time", "timing", "seconds", "attempts", "request_id", "version")


def without_times(value: Any) -> Any:
    """Return a JSON value without what differs between two equal runs."""
    if isinstance(value, dict):
        return {name: without_times(item) for name, item in value.items() if name not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def content(folder: Path) -> dict[str, Any]:
    """Return the content of every file of a folder but the images, without times."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".jpg":
            data = path.read_text("utf-8")
            if path.suffix in (".json", ".jsonl"):
                data = [without_times(json.loads(line)) for line in data.splitlines()]
            found[path.relative_to(folder).as_posix()] = data
    return found


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
        calls = len(vllm_server.calls)
        with started(folder, *options):
            vllm_server.wait_for_calls(calls + generator.randrange(1, images // kills - 10), 60)
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
        with started(*again):
            vllm_server.wait_for_calls(20, 60)
        assert batch(*again).code == 0
        assert 40 <= len(vllm_server.calls) <= 44
    texts = {(tmp_path / f"{number}.txt").read_text() for number in range(40)}
    assert texts == {"overwrite: a alt_text, append: a alt_text"}
    assert batch(*options, "--existing", "overwrite", "--temperature", "0.6").code == 0
    assert len(vllm_server.calls) >= 80


@pytest.mark.slow
def test_through_a_running_service(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "empty.jpg").touch()
    vllm_server.reply(b.Refusal())
    environment = {"VLLM_BASE_URL": vllm_server.url, "GRAPHCAP_MODEL": "tiny-vision"}
    with Service("--provider", "vllm", GRAPHCAP_API_KEYS="secret-key-1", **environment) as service:
        options = (tmp_path, "--url", service.url, "-p", "training_tags", "--out", "txt", "json")
        wrong = batch(*options, "--api-key", "wrong")
        assert (wrong.code, "API key" in wrong.err) == (4, True)
        unknown = batch(*options, "--provider", "opnai", GRAPHCAP_API_KEY="secret-key-1")
        assert (unknown.code, "Its providers: " in unknown.err) == (2, True)
        unknown = batch(tmp_path, "--url", service.url, "-p", "alt_txt", GRAPHCAP_API_KEY="secret-key-1")
        assert (unknown.code, "alt_txt" in unknown.err) == (2, True)
        assert not vllm_server.calls
        result = batch(*options, GRAPHCAP_API_KEY="secret-key-1\r\n")
    assert result.code == 3, result.err
    codes = Counter(line["code"] for line in lines(tmp_path / "failures.jsonl"))
    assert codes == {"refused": 1, "invalid_image": 1}
    assert len([name for name in files(tmp_path) if name.endswith(".txt")]) == 3


@pytest.mark.parametrize("key", ["secret-key-1\n2", "schlüssel", "\udcffkey"])
def test_a_key_that_no_header_can_contain_is_not_shown(batch: Graphcap, tmp_path: Path, key: str) -> None:
    photos(tmp_path, "a.jpg")
    result = batch(tmp_path, "--url", "http://127.0.0.1:9", GRAPHCAP_API_KEY=key)
    assert (result.code, "contains characters that no key has" in result.err) == (2, True)
    assert key[:9] not in result.err
    options = ("--base-url", "http://127.0.0.1:9", "--model", "tiny-vision")
    result = batch(tmp_path, *options, GRAPHCAP_PROVIDER_KEY=key)
    assert (result.code, "contains characters that no key has" in result.err) == (4, True)


class FixedHandler(Handler):
    """Sends `response` of its server to every request: a status, and the value of the JSON body."""

    def do_GET(self) -> None:  # noqa: N802 (the name of the base class)
        self.rfile.read(int(self.headers.get("content-length", 0)))
        status, body = self.server.response
        self.reply(status, json.dumps(body).encode())

    do_POST = do_GET  # noqa: N815


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (502, {"message": "Bad gateway"}),
        (503, {"error": "no upstream"}),
        (404, {"detail": "Not Found"}),
        (200, []),
        (200, {"results": []}),
        (500, {"code": 500, "detail": None}),
    ],
)
def test_json_of_another_server(graphcap: Graphcap, tmp_path: Path, status: int, body: Any) -> None:
    """Before the first call, it is a mistake in the address. During the run, it is an outage."""
    photos(tmp_path, "a.jpg")
    own = tmp_path / "own.json"
    own.write_text(json.dumps(catalog.load([catalog.LIBRARY]).get("training_tags").to_wire()))
    with LoopbackServer(FixedHandler) as server:
        server.response = status, body
        command = ("batch", tmp_path / "a.jpg", "--url", server.url, "-p")
        result = graphcap(*command, "alt_text")
        assert (result.code, f"{server.url} is not a graphcap bridge" in result.err) == (4, True), result.err
        unchecked = ("--base-url", "http://127.0.0.1:9", "--give-up-after", "0", "--json")
        result = graphcap(*command, own, *unchecked)
    types = [json.loads(line)["type"] for line in result.out.splitlines()]
    assert (result.code, types.count("paused"), types[-1]) == (4, 1, "finished"), result.err
    assert f"responded {status} without captions" in result.err


class Priced(LoopbackServer):
    """Passes requests on to a service, and sets the cost of each caption."""

    def __init__(self, service: str, cost: str) -> None:
        super().__init__(PricedHandler)
        self.service, self.cost = service, cost


class PricedHandler(Handler):
    server: Priced

    def do_GET(self) -> None:  # noqa: N802 (the name of the base class)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() in ("content-type", "accept")}
        url = self.server.service + self.path
        response = httpx2.request(self.command, url, content=body, headers=headers, timeout=None)
        cost = f'"cost":{self.server.cost}'.encode()
        self.reply(response.status_code, response.content.replace(b'"cost":null', cost))

    do_POST = do_GET  # noqa: N815


@pytest.mark.slow
@pytest.mark.parametrize(("cost", "sentence"), [("0.5", "have cost $"), ("null", "no known price")])
def test_a_service_reports_the_cost(
    batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path, cost: str, sentence: str
) -> None:
    photos(tmp_path, *(f"{number}.jpg" for number in range(12)))
    environment = {"VLLM_BASE_URL": vllm_server.url, "GRAPHCAP_MODEL": "tiny-vision"}
    with Service("--provider", "vllm", **environment) as service, Priced(service.url, cost) as proxy:
        result = batch(tmp_path, "--url", proxy.url, "--max-cost", "1", "--concurrency", "1")
    assert (result.code, sentence in result.err) == (4, True), result.err
    assert (2 if cost != "null" else 1) <= len(vllm_server.calls) < 12


async def test_one_image_without_a_folder(vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "a.jpg")
    config = {"kind": "vllm", "base_url": vllm_server.url}
    options = Options((), ("alt_text", "training_tags"), {"provider_config": config, "model": "tiny-vision"})
    async with open_services(load()) as services, open_job(options, services) as job:
        rows = await caption_rows(ImageItem("a", str(tmp_path / "a.jpg")), job)
        missing = await caption_rows(ImageItem("b", str(tmp_path / "b.jpg")), job)
    assert [(row.perspective, row.attempts, row.input_tokens) for row in rows] == [
        ("alt_text", 1, 120),
        ("training_tags", 1, 120),
    ]
    assert {row.failure.code for row in missing if row.failure} == {"image_not_found"}
    assert files(tmp_path) == set()


async def test_events_that_nobody_reads_do_not_block_the_end(
    vllm_server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.batch.run._EVENTS", 1)
    photos(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    config = {"kind": "vllm", "base_url": vllm_server.url}
    options = Options((str(tmp_path),), ("alt_text",), {"provider_config": config, "model": "tiny-vision"})
    async with open_services(load()) as services, prepared(options, services) as batch:
        events = Batch(batch).events()
        await anext(events)
        await asyncio.to_thread(vllm_server.wait_for_calls, 1)
        await asyncio.wait_for(events.aclose(), 60)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["s3", "gs"])
def test_a_bucket(
    batch: Graphcap,
    vllm_server: OpenAIServer,
    protocol: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in request.getfixturevalue(protocol).items():
        monkeypatch.setenv(name, value)
    fs = fsspec.filesystem(protocol, use_listings_cache=False, skip_instance_cache=True)
    fs.mkdir("photos")
    root = "photos/s[e]t*"  # not a pattern
    for number in range(12):
        fs.pipe_file(f"{root}/{number % 3}/{number}.jpg", picture(number))
    options = (f"{protocol}://{root}", *at(vllm_server), "--out", "txt", "hf-metadata", "--concurrency", "1")
    for extra, calls in ((("--limit", "5"), 5), ((), 12), ((), 12), (("--existing", "stale"), 12)):
        result = batch(*options, *extra)
        assert (result.code, len(vllm_server.calls)) == (0, calls), result.err
    names = {name.removeprefix(f"{root}/") for name in fs.find(root)}
    assert {name for name in names if name.endswith(".txt")} == {f"{n % 3}/{n}.txt" for n in range(12)}
    assert {name for name in names if "/" not in name} == {".graphcap.jsonl", ".graphcap.tables", "metadata.jsonl"}
    assert len(fs.cat_file(f"{root}/metadata.jsonl").splitlines()) == 12
    fs.pipe_file(f"{root}/empty.jpg", b"")
    fs.pipe_file(f"{root}/large.jpg", bytes(20_000))
    monkeypatch.setenv("GRAPHCAP_MAX_IMAGE_BYTES", "19999")
    result = batch(*options)
    assert result.code == 3, result.err
    failures = [json.loads(line) for line in fs.cat_file(f"{root}/failures.jsonl").splitlines()]
    codes = {line["path"]: line["code"] for line in failures}
    assert codes == {"empty.jpg": "invalid_image", "large.jpg": "image_too_large"}
    fs.rm_file(f"{root}/empty.jpg")
    fs.rm_file(f"{root}/large.jpg")
    overwrite = (*options, "--existing", "overwrite", "--prefix", "new: ")
    with started(*overwrite):
        vllm_server.wait_for_calls(12 + 6, 60)
    assert batch(*overwrite).code == 0
    assert 24 <= len(vllm_server.calls) <= 24 + 3
    assert all(fs.cat_file(f"{root}/{n % 3}/{n}.txt").startswith(b"new: ") for n in range(12))
    for place in ("absent/x", "photos/absent"):
        absent = batch(f"{protocol}://{place}", *at(vllm_server))
        assert (absent.code, f"{protocol}://{place}" in absent.err) == (2, True)


@pytest.mark.slow
def test_a_repository_of_hugging_face(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    with Hub({"acme/photos/set/1.jpg": picture(1), "acme/photos/README.md": b"words"}) as hub:
        environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
        for code, output in ((0, ("--output-dir", tmp_path / "out")), (2, ())):
            with started("hf://acme/photos", *at(vllm_server), *output, **environment) as process:
                _, err = process.communicate(timeout=60)
            assert (process.returncode, "stores each file as a commit" in err) == (code, code == 2), err
    assert files(tmp_path / "out") == {"set/1.txt"}
    with started("hf://acme/photos", HF_ENDPOINT=hub.url) as process:
        _, err = process.communicate(timeout=60)
    assert (process.returncode, "'hf://acme/photos' cannot be read" in err, "Traceback" in err) == (2, True, False), err


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


@pytest.mark.slow
def test_a_crash_before_the_sidecar_was_written(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "a.jpg", "b.jpg")
    sidecar, index = tmp_path / "a.txt", tmp_path / ".graphcap.jsonl"
    assert batch(tmp_path, *at(vllm_server)).code == 0
    old = f"by hand, {sidecar.read_text()}", index.read_bytes()
    sidecar.write_text(old[0])
    options = (tmp_path, *at(vllm_server), "--existing", "stale", "--prefix", "new: ")
    assert batch(*options).code == 0
    new = sidecar.read_text()
    sidecar.write_text(old[0])
    index.write_bytes(old[1] + index.read_bytes())
    assert batch(*options).code == 0
    assert (sidecar.read_text(), len(vllm_server.calls)) == (new, 2)
    skipped = batch(tmp_path, *at(vllm_server), "--trigger", "ohwx")
    assert "Warning (2 ×): An image was captioned with other options" in skipped.err
    trigger = (tmp_path, *at(vllm_server), "--out", "txt", "json", "--trigger", "ohwx")
    for existing, text in (("skip", "new: a alt_text"), ("stale", "ohwx, a alt_text")):
        assert batch(*trigger, "--existing", existing).code == 0
        assert (len(vllm_server.calls), (tmp_path / "b.txt").read_text()) == (2, text)


@pytest.mark.slow
def test_a_run_between_two_parts_of_an_overwrite(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    """The run between ends early, too: its rows do not count as overwritten. Another request overwrites all."""
    photos(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    options = (tmp_path, *at(vllm_server), "--concurrency", "1")
    overwrite = (*options, "--existing", "overwrite", "--prefix", "new: ")
    assert batch(*options).code == 0
    vllm_server.reply(b.Answer(), b.Answer())
    vllm_server.default = b.Status(401)
    assert batch(*overwrite).code == 4
    old = [path for path in tmp_path.glob("*.txt") if path.read_text() == "a alt_text"]
    assert len(old) == 2
    old[0].unlink()
    photos(tmp_path, "e.jpg")
    assert batch(*options).code == 4  # it may end before the removed sidecar is restored
    vllm_server.default = b.Answer()
    assert "3 captioned, 2 restored" in batch(*overwrite).err
    assert {path.read_text() for path in tmp_path.glob("*.txt")} == {"new: a alt_text"}
    vllm_server.reply(b.Answer(), b.Answer(), b.Status(401))
    assert batch(*overwrite).code == 4
    assert "5 captioned" in batch(*overwrite, "--temperature", "0.5").err
    assert "5 captioned" in batch(*overwrite, "--temperature", "0.5").err


def test_a_changed_file_of_equal_size_has_another_version() -> None:
    for name in ("mtime", "LastModified", "ETag", "etag", "blob_id", "xet_hash"):
        assert file_info({"size": 1, name: "a"}) != file_info({"size": 1, name: "b"})


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
