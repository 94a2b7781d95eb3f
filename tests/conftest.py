"""Fixtures for all tests: a clean environment, a photo, services and model servers on loopback."""

import io
import logging
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bridge.captioning.services import Services, open_services
from bridge.cli import main
from bridge.settings import Settings
from providers.pool import Pool
from tests import recorded_output
from tests.contract.kinds import PROTOCOLS, Kind
from tests.contract.target import Target, make_target
from tests.servers import OllamaServer, OpenAIServer, RecordingServer, WireServer
from tests.service import AMBIENT, ROOT, WORKSPACE, Service

LEAKS = pytest.StashKey[list[str]]()
# The files whose slow tests take longest.
LONG = (
    *("batch/test_ray.py", "clients/javascript/test_javascript_client.py", "batch/test_index.py"),
    *("local/test_captions.py", "clients/javascript/test_page.py", "e2e/test_container.py", "hostile/test_images.py"),
)


def pytest_configure(config: pytest.Config) -> None:
    """Create the directory in which all processes of this run record the output of the service."""
    recorded_output.begin()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest files first, so that no process runs one of them after the others have ended."""
    ranks = {ROOT / "tests" / name: rank for rank, name in enumerate(LONG)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if the recorded output of the service contains a key of any test."""
    if hasattr(session.config, "workerinput"):
        return  # only the controller searches
    place = recorded_output.begin()
    leaks = recorded_output.leaks(place, recorded_output.keys(Path(__file__).parent))
    shutil.rmtree(place)
    session.config.stash[LEAKS] = leaks
    if leaks:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the lines that contain a part of a key."""
    for line in config.stash.get(LEAKS, []):
        terminalreporter.write_line(f"FAILED: the service wrote a part of a key: {line}", red=True)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Return the event loop implementation of the service."""
    return "asyncio"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the settings, keys and proxies of the machine from the environment."""
    for name in filter(AMBIENT.fullmatch, list(os.environ)):
        monkeypatch.delenv(name)


class Result(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


Graphcap = Callable[..., Result]


@pytest.fixture
def graphcap(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Graphcap]:
    """Return a function that runs the command line in this process, with additional environment variables."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.chdir(ROOT)

    def run(*arguments: object, stdin: bytes = b"", **environment: str) -> Result:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            for name, value in environment.items():
                patch.setenv(name, value)
            try:
                code = main(list(map(str, arguments)))
            except SystemExit as error:
                code = int(error.code or 0)
        out, err = capsys.readouterr()
        recorded_output.keep(out + err)
        return Result(code, out, err)

    yield run
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """Start a service with the default settings."""
    with Service() as running:
        yield running


@pytest.fixture(scope="session")
def photo() -> bytes:
    """Return a JPEG of 64 x 48 pixels."""
    return (Path(__file__).parent / "contract" / "photo.jpg").read_bytes()


@pytest.fixture(scope="module")
async def pool(anyio_backend: str) -> AsyncIterator[Pool]:
    """Open a connection pool that the tests of a module share."""
    pool = Pool()
    yield pool
    await pool.aclose()


@pytest.fixture(scope="module")
async def services(anyio_backend: str) -> AsyncIterator[Services]:
    """Open the services of the bridge in this process."""
    async with open_services(Settings(workspace=WORKSPACE)) as opened:
        yield opened


@pytest.fixture(params=PROTOCOLS, ids=lambda kind: kind.id)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Return each kind of PROTOCOLS: a client class with its test server."""
    return request.param


@pytest.fixture(params=[False, True], ids=["complete", "streamed"])
def streamed(request: pytest.FixtureRequest) -> bool:
    """Return whether the answer is streamed."""
    return bool(request.param)


@pytest.fixture
def server(kind: Kind) -> Iterator[WireServer]:
    """Start a server of this kind."""
    with kind.server() as server:
        yield server


@pytest.fixture
def target(kind: Kind, server: WireServer, pool: Pool) -> Target:
    """Return a client of this kind with its server."""
    return make_target(kind, server, pool)


@pytest.fixture
def vllm_server() -> Iterator[OpenAIServer]:
    """Start a vLLM server without a key."""
    with OpenAIServer("vllm") as server:
        yield server


@pytest.fixture
def ollama_server() -> Iterator[OllamaServer]:
    """Start an Ollama server without a key."""
    with OllamaServer() as server:
        yield server


@pytest.fixture
def recording_server() -> Iterator[RecordingServer]:
    """Start a server that must not be called, or must not receive keys."""
    with RecordingServer() as server:
        yield server
