"""Failed images, limits and outages: exit codes, failures.jsonl, and mistakes before the first call."""

import asyncio
import fcntl
import json
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bridge.batch.models import Paused, Resumed, Row
from bridge.batch.options import Options
from bridge.batch.outage import Outages
from bridge.batch.start import Prepared, prepared
from bridge.captioning.services import open_services
from bridge.settings import load
from tests.batch.conftest import Graphcap, at, files, lines, photos, picture
from tests.servers import OpenAIServer
from tests.servers import behaviours as b


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
    assert len(files(tmp_path) - {"failures.jsonl"}) == 1
    assert len(lines(tmp_path / "failures.jsonl")) == 1


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


@asynccontextmanager
async def opened(
    server: OpenAIServer, folder: Path
) -> AsyncIterator[tuple[Prepared, Outages, asyncio.Queue[Paused | Resumed]]]:
    """Prepare a batch with two perspectives. Yield it, its outages, and their events."""
    request = {"provider_config": {"kind": "vllm", "base_url": server.url}, "model": "tiny-vision"}
    options = Options((str(folder),), ("alt_text", "training_tags"), request)
    events: asyncio.Queue[Paused | Resumed] = asyncio.Queue()
    async with open_services(load()) as services, prepared(options, services) as batch:
        yield batch, Outages(batch.job, events.put), events


async def test_an_image_that_fails_before_a_call_ends_no_pause(
    vllm_server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.batch.outage._PAUSE", 0.01)
    photos(tmp_path, "a.jpg")
    (tmp_path / "empty.jpg").touch()
    vllm_server.default = b.Status(503, retry_after=0.01)
    rows: list[Row] = []
    async with opened(vllm_server, tmp_path) as (batch, outages, events):
        photo, empty = batch.items
        task = asyncio.create_task(outages.caption(photo, batch.job.perspectives, rows))
        assert isinstance(await events.get(), Paused)
        await outages.caption(empty, batch.job.perspectives, rows)
        task.cancel()
        await asyncio.wait([task])
    assert [row.failure and row.failure.code for row in rows] == ["invalid_image"] * 2
    assert events.empty()


async def test_no_image_waits_for_the_provider_when_the_run_stops(
    vllm_server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caption of an image whose other one waits is kept."""
    monkeypatch.setattr("bridge.batch.outage._PAUSE", 3600.0)
    photos(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    vllm_server.reply(b.Answer())
    vllm_server.default = b.Status(503, retry_after=0.01)
    rows: list[Row] = []
    async with (
        opened(vllm_server, tmp_path) as (batch, outages, events),
        asyncio.timeout(60),
        asyncio.TaskGroup() as group,
    ):
        for item in batch.items:
            group.create_task(outages.caption(item, batch.job.perspectives, rows))
        assert isinstance(await events.get(), Paused)
        outages.stopping.set()
    assert [row.failure for row in rows] == [None]


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
    (("--api-key", "our-batch-key-1"), "", "requires --url"),
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
    (("--limit", "1.5"), "", "argument --limit: '1.5' is not a whole number"),
    (("--max-cost", "1 $"), "", "argument --max-cost: '1 $' is not a number"),
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
