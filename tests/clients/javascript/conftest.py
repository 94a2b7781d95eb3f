"""The JavaScript client with its packages, and a bridge under its control."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.javascript.control import KEYS, controlled
from tests.service import ROOT
from tests.tools import need

RUNTIMES = {
    "node": ("--experimental-websocket", "--test", "--test-reporter=spec", "--test-timeout=540000"),
    "deno": ("test", "--allow-all", "--no-check", "--no-lock"),
    "bun": ("test", "--timeout=240000"),
}
CLIENT = ROOT / "clients/javascript"
GUARD = 600


def run(folder: Path, *command: str, **environment: str) -> None:
    """Run a command in the directory; a failure shows its output."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=GUARD,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def run_tests(package: Path, name: str, runtime: str = "node", **environment: str) -> None:
    """Run one file of the client's own tests in a JavaScript runtime."""
    run(package, need(runtime), *RUNTIMES[runtime], f"./test/{name}", **environment)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the package with its locked dependencies, the OpenAPI document and the page."""
    root = tmp_path_factory.mktemp("client")
    folder = root / "clients/javascript"
    shutil.copytree(CLIENT, folder, ignore=shutil.ignore_patterns("node_modules"))
    shutil.copytree(ROOT / "bridge/api/page", root / "bridge/api/page")
    shutil.copy(ROOT / "openapi.json", root)
    run(folder, need("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    (folder / "node_modules/@graphcap").mkdir()
    (folder / "node_modules/@graphcap/bridge").symlink_to(folder)
    return folder


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[dict[str, str]]]:
    """Start a bridge. Yield environments with an API key per test, because requests are limited per key."""
    with controlled(tmp_path_factory.mktemp("workspace")) as environment:
        yield ({**environment, "BRIDGE_KEY": key} for key in KEYS)


@pytest.fixture
def bridge(environments: Iterator[dict[str, str]]) -> dict[str, str]:
    """Return the environment of a test program."""
    return next(environments)
