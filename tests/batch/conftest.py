"""Run `graphcap batch`, and make folders of images."""

import io
import json
import logging
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bridge.cli import main
from tests import written
from tests.images.samples import saved, solid
from tests.servers import OpenAIServer
from tests.service import ROOT, clean_environment


class Result(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


Graphcap = Callable[..., Result]


@pytest.fixture
def batch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Graphcap]:
    """Run `graphcap batch` in this process with the perspective `alt_text`."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.chdir(ROOT)

    def run(*arguments: Any, stdin: bytes = b"", perspective: str = "alt_text", **environment: str) -> Result:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            for name, value in environment.items():
                patch.setenv(name, value)
            try:
                code = main(["batch", *map(str, arguments), *(["-p", perspective] if perspective else [])])
            except SystemExit as error:
                code = int(error.code or 0)
        out, err = capsys.readouterr()
        written.keep(out + err)
        return Result(code, out, err)

    yield run
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


@contextmanager
def started(
    *arguments: Any, file_size: int = resource.RLIM_INFINITY, cwd: Path = ROOT, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """Run `graphcap batch` in a process of its own, with the perspective `alt_text`. It is killed at the end.

    `file_size`: bytes of the largest file that it may write.
    """
    command = [sys.executable, "-m", "bridge.cli", "batch", *map(str, arguments), "-p", "alt_text"]
    with subprocess.Popen(
        command,
        cwd=cwd,
        env={**clean_environment(), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size)),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


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


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """An S3 server on loopback."""
    from moto.server import ThreadedMotoServer

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop()
