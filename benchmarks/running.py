"""The processes that are measured: started, found by the address they print, accounted for, ended."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = Path(sys.executable).with_name("graphcap")
WORKSPACE = ROOT / "workspace"
MODEL = "gpt-4.1-mini"
_TICKS = os.sysconf("SC_CLK_TCK")
_ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)")
_FOREIGN = re.compile(
    r"(GRAPHCAP|OPENAI|OLLAMA|GEMINI|GOOGLE|VLLM|OTEL|MALLOC)_.*|.*_API_KEY|.*_PROXY|WEB_CONCURRENCY", re.IGNORECASE
)


@dataclass(frozen=True)
class Running:
    """A server on loopback and its process."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def cpu(self) -> float:
        """Seconds of CPU that it and its children were accounted so far."""
        return sum(map(_accounted, _tree(self.pid)))

    def memory(self, what: str = "VmRSS") -> float:
        """MB of memory it holds now (`VmRSS`) or held at most (`VmHWM`), children included."""
        return sum(_status(pid, what) for pid in _tree(self.pid)) / 1024


@contextmanager
def running(*command: str, **environment: str) -> Iterator[Running]:
    """Run a server until the block ends; it is up when it has printed its address."""
    process = subprocess.Popen(
        command, cwd=ROOT, env=clean(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    try:
        log = ""
        for line in process.stdout:
            log += line
            if found := _ADDRESS.search(line):
                break
        else:
            raise RuntimeError(f"{' '.join(command)} ended:\n{log}")
        # The log goes on: nobody may wait for it to be read.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield Running(int(found[1]), process.pid)
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def standin(delay: float = 0.0, port: int = 0) -> Iterator[Running]:
    """The provider stand-in; each call takes `delay` seconds."""
    command = (sys.executable, "-m", "benchmarks.standin", "--delay", str(delay), "--port", str(port))
    with running(*command) as server:
        yield server


@contextmanager
def bridge(provider: Running | None = None, workspace: Path = WORKSPACE, **settings: str) -> Iterator[Running]:
    """The service, asking `provider` in OpenAI's protocol, or `builtin` without one."""
    with running(*serve(workspace), **wired(provider), **settings) as server:
        yield server


@contextmanager
def floor(provider: Running) -> Iterator[Running]:
    """The least that could stand in the bridge's place."""
    with running(sys.executable, "-m", "benchmarks.floor", **wired(provider)) as server:
        yield server


def serve(workspace: Path = WORKSPACE) -> tuple[str, ...]:
    """The command that starts the service on a free port."""
    return str(SCRIPT), "serve", "--port", "0", "--workspace", str(workspace)


def wired(provider: Running | None) -> dict[str, str]:
    """The environment that makes the stand-in the default provider."""
    if provider is None:
        return {}
    return {
        "GRAPHCAP_PROVIDER": "openai",
        "GRAPHCAP_MODEL": MODEL,
        "OPENAI_BASE_URL": f"{provider.url}/v1",
        "OPENAI_API_KEY": "sk-benchmark",
        "OLLAMA_HOST": provider.url,
        "GOOGLE_GEMINI_BASE_URL": provider.url,
        "GEMINI_API_KEY": "sk-benchmark",
    }


def clean(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """This environment without what configures a provider, a proxy or the bridge, and with `environment`."""
    kept = {name: value for name, value in os.environ.items() if not _FOREIGN.fullmatch(name)}
    return {**kept, "PYTHONUNBUFFERED": "1", **(environment or {})}


def settle(seconds: float = 0.3) -> None:
    """Let what has just started come to rest."""
    time.sleep(seconds)


def _tree(pid: int) -> list[int]:
    children = [int(child) for task in _tasks(pid) for child in (task / "children").read_text().split()]
    return [pid, *(one for child in children for one in _tree(child))]


def _tasks(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").iterdir())


def _accounted(pid: int) -> float:
    """User and system time of a process, and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def _status(pid: int, name: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) if found else 0
