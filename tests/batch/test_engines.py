"""Captions through a running service, and with the functions for Python."""

import asyncio
import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bridge.batch import caption_rows, open_job
from bridge.batch.engines import InProcess, OverHttp
from bridge.batch.models import ImageItem
from bridge.batch.options import Options
from bridge.batch.rows import images_in_memory, settings_for
from bridge.captioning.services import open_services
from bridge.deadline import Deadline
from bridge.run import Run
from bridge.settings import Settings, load
from perspectives import catalog
from tests.batch.conftest import Graphcap, at, files, lines, photos, started
from tests.guard import GUARD
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.servers.loopback import Handler, LoopbackServer
from tests.service import Service

TAGS = catalog.load([catalog.LIBRARY]).get("training_tags")
HANG_GUARD = 60.0


@pytest.mark.slow
def test_through_a_running_service(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "empty.jpg").touch()
    vllm_server.reply(b.Refusal())
    environment = {"VLLM_BASE_URL": vllm_server.url, "GRAPHCAP_MODEL": "tiny-vision"}
    with Service("--provider", "vllm", GRAPHCAP_API_KEYS="our-batch-key-1", **environment) as service:
        options = (tmp_path, "--url", service.url, "-p", "training_tags", "--out", "txt", "json")
        wrong = batch(*options, "--api-key", "wrong")
        assert (wrong.code, "API key" in wrong.err) == (4, True)
        unknown = batch(*options, "--provider", "opnai", GRAPHCAP_API_KEY="our-batch-key-1")
        assert (unknown.code, "Its providers: " in unknown.err) == (2, True)
        unknown = batch(tmp_path, "--url", service.url, "-p", "alt_txt", GRAPHCAP_API_KEY="our-batch-key-1")
        assert (unknown.code, "alt_txt" in unknown.err) == (2, True)
        assert not vllm_server.calls
        result = batch(*options, GRAPHCAP_API_KEY="our-batch-key-1\r\n")
    assert result.code == 3, result.err
    codes = Counter(line["code"] for line in lines(tmp_path / "failures.jsonl"))
    assert codes == {"refused": 1, "invalid_image": 1}
    assert len([name for name in files(tmp_path) if name.endswith(".txt")]) == 3


@pytest.mark.parametrize("key", ["our-batch-key-1\n2", "schlüssel", "\udcffkey"])
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
    own.write_text(json.dumps(TAGS.to_wire()))
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


@pytest.mark.parametrize(("status", "code"), [(413, "provider_error"), (504, "timeout"), (524, "timeout")])
def test_a_proxy_rejects_an_image(graphcap: Graphcap, tmp_path: Path, status: int, code: str) -> None:
    """The image is not sent again, and a run in which every image fails ends."""
    photos(tmp_path, "a.jpg")
    own = tmp_path / "own.json"
    own.write_text(json.dumps(TAGS.to_wire()))
    with LoopbackServer(FixedHandler) as server:
        server.response = status, "<html>"
        unchecked = ("--base-url", "http://127.0.0.1:9", "--json")
        command = ("batch", tmp_path / "a.jpg", "--url", server.url, "-p", own, *unchecked, "--give-up-after")
        failed, ended = graphcap(*command, "5"), graphcap(*command, "0")
    types = [json.loads(line)["type"] for line in failed.out.splitlines()]
    assert (failed.code, types.count("paused"), types.count("failed")) == (3, 0, 1), failed.err
    assert (ended.code, "--give-up-after" in ended.err) == (4, True), ended.err
    assert [line["code"] for line in lines(tmp_path / "failures.jsonl")] == [code]


@pytest.mark.slow
def test_an_image_that_waits_in_the_service_is_sent_again(
    batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path
) -> None:
    """The time limit of the service includes its queue. The provider takes one call, which another caller made."""
    photos(tmp_path / "others", "a.jpg")
    photos(tmp_path / "ours", "b.jpg")
    (tmp_path / "config").mkdir()
    one = f'[providers.one]\nkind = "vllm"\nendpoints = [{{ base_url = "{vllm_server.url}", max_concurrency = 1 }}]\n'
    (tmp_path / "config" / "providers.toml").write_text(one)
    vllm_server.default = b.Hold()
    with Service(workspace=tmp_path) as service:
        at_service = ("--url", service.url, *at(vllm_server), "--json")
        with started(tmp_path / "others", *at_service) as others:
            vllm_server.wait_for_calls(1)
            with started(tmp_path / "ours", *at_service, "--timeout", "0.5") as ours:
                assert ours.stdout is not None
                pause = next(event for line in ours.stdout if (event := json.loads(line))["type"] == "paused")
                vllm_server.default = b.Answer()
                vllm_server.release()
                assert (others.wait(GUARD), ours.wait(GUARD)) == (0, 0)
    assert "waiting for a free slot" in pause["reason"]
    assert {name.name for name in tmp_path.rglob("*.txt")} == {"a.txt", "b.txt"}


class HoldingServer(LoopbackServer):
    """Sends the perspective `training_tags`, and answers requests for captions when `expected` of them have arrived."""

    request_queue_size = 128

    def __init__(self, expected: int = 1) -> None:
        super().__init__(HoldingHandler)
        self.bodies: list[bytes] = []
        self.expected = expected
        self.released = threading.Event()


class HoldingHandler(Handler):
    server: HoldingServer

    def do_GET(self) -> None:  # noqa: N802 (the name of the base class)
        self.reply(content=json.dumps(TAGS.to_wire()).encode())

    def do_POST(self) -> None:  # noqa: N802
        self.server.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        if len(self.server.bodies) >= self.server.expected:
            self.server.released.set()
        caption = {"result": {"tags": ["sea"]}, "usage": None, "attempts": []}
        is_released = self.server.released.wait(HANG_GUARD)
        self.reply(content=json.dumps({"results": {TAGS.name: caption}} if is_released else {}).encode())


async def test_images_wait_behind_others_longer_than_their_time_limit(tmp_path: Path) -> None:
    photos(tmp_path, "a.jpg", "b.jpg")
    with HoldingServer(expected=3) as server:
        options = Options((), (TAGS.to_wire(),), url=server.url, concurrency=1, give_up_after=0)
        settings = settings_for(options, Settings(timeout=0.01))
        async with open_services(settings) as services, open_job(options, services) as job:
            images = (ImageItem(name, str(tmp_path / name)) for name in ("a.jpg", "b.jpg"))
            calls = [asyncio.create_task(caption_rows(image, job)) for image in images]
            _, waiting = await asyncio.wait(calls, timeout=0.1)
            server.released.set()
            rows = [row for (row,) in await asyncio.gather(*calls)]
    assert (len(waiting), [row.failure for row in rows], len(server.bodies)) == (2, [None, None], 2)


async def test_concurrency_has_no_other_limit() -> None:
    with HoldingServer(expected=101) as server:
        engine = OverHttp(server.url, "", {}, 101, HANG_GUARD)
        runs = [Run(Deadline(HANG_GUARD)) for _ in range(101)]
        outcomes = await asyncio.gather(*(engine.caption(b"x", {}, (TAGS,), run) for run in runs))
        await engine.aclose()
    assert all("result" in outcome.body for (outcome,) in outcomes)


async def test_perspectives_of_the_service_are_sent_as_names() -> None:
    with HoldingServer() as server:
        engine = OverHttp(server.url, "", {}, 1, HANG_GUARD)
        found = [await engine.find(each) for each in (TAGS.name, TAGS.to_wire())]
        for each in found:
            await engine.caption(b"x", {}, (each,), Run(Deadline(HANG_GUARD)))
        await engine.aclose()
    assert {each.digest for each in found} == {TAGS.digest}
    assert [f'"perspectives": ["{TAGS.name}"]'.encode() in body for body in server.bodies] == [True, False]


@pytest.mark.parametrize(
    "url",
    [
        *("http://bridge:3210O", "http://bridge:99999", "bridge:32100", "http://1.2.3.999", "http://[::1", "http:///x"),
        "http://h/\x01",
    ],
)
def test_an_address_that_is_none(batch: Graphcap, tmp_path: Path, url: str) -> None:
    result = batch(photos(tmp_path, "a.jpg"), "--url", url)
    assert (result.code, "is not the address of a service (--url)" in result.err) == (2, True), result.err


PROVIDERS = """
[providers.two]
kind = "vllm"
endpoints = ["http://127.0.0.1:9", { base_url = "http://127.0.0.1:10", max_concurrency = 4 }]
"""
TWO = {"provider_config": {"kind": "vllm", "base_url": "http://127.0.0.1:10"}}
OTHER = {"provider_config": {"kind": "vllm", "base_url": "http://127.0.0.1:11"}}


@pytest.mark.parametrize(
    ("fields", "images"),
    [({"provider": "local"}, 3), ({"provider": "two"}, 15), (TWO, 6), (OTHER, 10), ({"provider": "vllm"}, 10)],
)
async def test_images_in_memory_follow_the_limits_of_the_servers(
    tmp_path: Path, fields: dict[str, Any], images: int
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/providers.toml").write_text(PROVIDERS)
    async with open_services(Settings(workspace=tmp_path)) as services:
        engine = InProcess(services, {"model": "smolvlm-500m", **fields})
    assert images_in_memory(8, engine.servers) == images


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
        metrics = service.get("/metrics").text
    assert ('perspective="alt_text"' in metrics, 'perspective="inline"' in metrics) == (True, False)
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
