"""What any test may ask for: a clean environment, a small photo, and model servers on loopback."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import written
from tests.servers import GeminiServer, OllamaServer, OpenAIServer, TrapServer

LEAKS = pytest.StashKey[list[str]]()
AMBIENT = re.compile(
    r"(OPENAI|ANTHROPIC|GEMINI|GOOGLE|OLLAMA|VLLM|OPENROUTER|LMSTUDIO|LM_STUDIO|LLAMACPP|LITELLM|OTEL|HF)_.*|.*_API_KEY"
    r"|GRAPHCAP_(?!REQUIRE_TOOLS).*|WEB_CONCURRENCY|(HTTPS?|ALL|NO)_PROXY",
    re.IGNORECASE,
)


def pytest_configure(config: pytest.Config) -> None:
    """Let every process of this run keep what the service writes in one place."""
    written.begin()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """When all tests have run: no key of any of them stands in anything that the service wrote."""
    if hasattr(session.config, "workerinput"):
        return  # the controller looks, once
    place = written.begin()
    leaks = written.leaks(place, written.keys(Path(__file__).parent))
    shutil.rmtree(place)
    session.config.stash[LEAKS] = leaks
    if leaks:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the lines that hold a piece of a key."""
    for line in config.stash.get(LEAKS, []):
        terminalreporter.write_line(f"FAILED: the service wrote a piece of a key: {line}", red=True)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """One event loop implementation, the one the service runs on."""
    return "asyncio"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting, key or proxy of the machine reaches a test."""
    for name in filter(AMBIENT.fullmatch, list(os.environ)):
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A JPEG of 64 x 48 pixels."""
    return (Path(__file__).parent / "contract" / "photo.jpg").read_bytes()


@pytest.fixture
def openai_server() -> Iterator[OpenAIServer]:
    """OpenAI itself, strict as it is; it demands `openai_server.key`."""
    with OpenAIServer() as server:
        yield server


@pytest.fixture
def vllm_server() -> Iterator[OpenAIServer]:
    """A vLLM server, keyless."""
    with OpenAIServer("vllm") as server:
        yield server


@pytest.fixture
def ollama_server() -> Iterator[OllamaServer]:
    """An Ollama server, keyless."""
    with OllamaServer() as server:
        yield server


@pytest.fixture
def gemini_server() -> Iterator[GeminiServer]:
    """The Gemini API; it demands `gemini_server.key`."""
    with GeminiServer() as server:
        yield server


@pytest.fixture
def trap() -> Iterator[TrapServer]:
    """A stranger's address."""
    with TrapServer() as server:
        yield server
