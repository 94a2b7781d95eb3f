"""nginx with deploy/nginx in front of three bridges: real processes on loopback."""

import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

from deploy.nginx.generate import render
from tests.api.streams import SAMPLE
from tests.guard import GUARD
from tests.service import ROOT, WORKSPACE, Service, until
from tests.tools import need

CONFIG = ROOT / "deploy/nginx/balancer.conf"
BRIDGES = 3
PAGE = "http://localhost:32200"
ELSEWHERE = "https://elsewhere.example.org"
CAPTION = "/api/v1/perspectives/caption"
BODY = {"perspective": "alt_text", "image": {"path": SAMPLE}}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port: int) -> bool:
    """Return whether the port accepts connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def adapt_configuration(folder: Path, port: int, changes: Mapping[str, str]) -> str:
    """Return the shipped configuration with the addresses and paths of the test."""
    moves = {
        "listen 8080;": f"listen 127.0.0.1:{port};",
        "worker_processes auto;": "worker_processes 2;",
        "/tmp/": f"{folder}/",
        "/dev/stdout": f"{folder}/access.log",
        **changes,
    }
    return replace_all(CONFIG.read_text(encoding="utf-8"), moves)


def replace_all(text: str, moves: Mapping[str, str]) -> str:
    """Replace every key of `moves` in the text, which must contain all of them."""
    for shipped, here in moves.items():
        assert shipped in text, shipped
        text = text.replace(shipped, here)
    return text


class Nginx:
    """nginx in the foreground, as a context manager; `log` is its error log."""

    def __init__(self, folder: Path, bridges: list[int], **changes: str) -> None:
        self._program = need("nginx")
        self._folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (folder / "nginx.conf").write_text(adapt_configuration(folder, self.port, changes), encoding="utf-8")
        (folder / "bridges.conf").write_text(render(f"127.0.0.1:{item}" for item in bridges), encoding="utf-8")

    def __enter__(self) -> Self:
        command = [self._program, "-p", str(self._folder), "-c", str(self._folder / "nginx.conf")]
        if os.geteuid() == 0:  # otherwise its workers run as the user "nobody", which cannot read the folder of a test
            command += ["-g", "user root;"]
        with (self._folder / "error.log").open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log)
        try:
            until(lambda: listens(self.port) or self.process.poll() is not None)
            assert self.process.poll() is None, self.log
        except BaseException:
            self.process.kill()
            self.process.wait(GUARD)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(GUARD)

    @property
    def config(self) -> list[str]:
        return (self._folder / "nginx.conf").read_text(encoding="utf-8").splitlines()

    @property
    def log(self) -> str:
        return (self._folder / "error.log").read_text(encoding="utf-8")

    def line(self, response: httpx.Response) -> str:
        """Return the log line of a response; nginx writes it after the response."""
        expected = f"id={response.headers['x-request-id']} "
        log = self._folder / "access.log"
        return until(lambda: next((line for line in log.read_text("utf-8").splitlines() if expected in line), ""))


@dataclass
class Fleet:
    """Three bridges behind nginx, with the URL of nginx as `url`, as in a Service."""

    nginx: Nginx
    bridges: list[Service]
    settings: dict[str, str]
    running: ExitStack

    @property
    def url(self) -> str:
        return self.nginx.url

    def start(self, number: int) -> None:
        """Start a bridge again on its port."""
        port = str(self.bridges[number].port)
        self.bridges[number] = self.running.enter_context(Service("--port", port, **self.settings))

    def kill(self, number: int) -> None:
        self.bridges[number].process.kill()
        self.bridges[number].stop()

    def restart(self, number: int) -> None:
        """Restart a bridge as an orchestrator does: stop it, wait, start it, wait until it is ready."""
        assert self.bridges[number].stop() == 0
        assert "Traceback" not in self.bridges[number].log
        self.start(number)
        with client(self.bridges[number].url) as item:
            until(lambda: item.get("/readyz").status_code == 200)


@contextmanager
def fleet(
    folder: Path, *, count: int = BRIDGES, changes: Mapping[str, str] | None = None, **settings: str
) -> Iterator[Fleet]:
    """Run `count` bridges with these settings behind nginx with these `changes` to its configuration."""
    with ExitStack() as running:
        bridges = [running.enter_context(Service(workspace=WORKSPACE, **settings)) for _ in range(count)]
        nginx = running.enter_context(Nginx(folder, [item.port for item in bridges], **(changes or {})))
        yield Fleet(nginx, bridges, settings, running)


def client(url: str, **options: Any) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=GUARD, trust_env=False, **options)
