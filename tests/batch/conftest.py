"""Run `graphcap batch`, and make folders of images."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Graphcap
from tests.images.samples import saved, solid
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import ROOT, clean_environment

TIMES = ("time", "timing", "seconds", "attempts", "request_id", "version")


@pytest.fixture
def batch(graphcap: Graphcap) -> Graphcap:
    """Run `graphcap batch` in this process with the perspective `alt_text`."""
    return lambda *arguments, **options: graphcap("batch", *arguments, "-p", "alt_text", **options)


@contextmanager
def started(
    *arguments: Any, before: tuple[Any, ...] = (), cwd: Path = ROOT, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """Run `graphcap batch` in a process of its own, with the perspective `alt_text`. It is killed at the end.

    `before`: words before the command.
    """
    command = [*map(str, before), sys.executable, "-m", "bridge.cli", "batch", *map(str, arguments), "-p", "alt_text"]
    with subprocess.Popen(
        command,
        cwd=cwd,
        env={**clean_environment(), **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def kill_after(server: OpenAIServer, answers: int, *arguments: Any) -> None:
    """Run `graphcap batch` until the server has answered this number of calls. Kill it while the next call waits."""
    calls = len(server.calls)
    server.reply(*[b.Answer()] * answers)
    server.default = b.Hold()
    with started(*arguments):
        server.wait_for_calls(calls + answers + 1)
    server.default = b.Answer()


def picture(number: int) -> bytes:
    """Return a small JPEG that differs from that of every other number."""
    return saved(solid((16 + number % 40, 16 + number // 40), (90, 120, 150)), "JPEG")


def photos(folder: Path, *names: str) -> Path:
    """Fill a folder with images of these names."""
    for number, name in enumerate(names):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(number))
    return folder


def at(server: OpenAIServer) -> tuple[str, ...]:
    """Return the options that caption with this server."""
    return "--kind", "vllm", "--base-url", server.url, "--model", "tiny-vision"


def files(folder: Path) -> set[str]:
    """Return the names of all files that are not images, without those of the index."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in names if not name.endswith(".jpg") and not name.startswith(".graphcap")}


def lines(file: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSONL file."""
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


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


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """An S3 server on loopback: the environment that selects it."""
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # pytest would keep a line for each request
    S3FileSystem.clear_instance_cache()  # an instance keeps the address of the server that an earlier file started
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "secret-of-the-bucket"}
    yield {**keys, "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_REGION": "us-east-1"}
    server.stop()


@pytest.fixture(scope="module")
def gs() -> Iterator[dict[str, str]]:
    """A Google Cloud Storage server on loopback: the environment that selects it."""
    from gcp_storage_emulator.server import create_server

    server = create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    url = f"http://127.0.0.1:{server._api._httpd.server_port}"
    yield {"STORAGE_EMULATOR_HOST": url, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
    server.stop()
