"""Start the processes that are measured, read their CPU time and memory, and end them."""

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
_CONFIGURATION = re.compile(
    r"(GRAPHCAP|OPENAI|OLLAMA|GEMINI|GOOGLE|VLLM|OTEL|MALLOC)_.*|.*_API_KEY|.*_PROXY|WEB_CONCURRENCY|PYTHONDONTWRITEBYTECODE",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Running:
    """A server on loopback and its process."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        """Return its address."""
        return f"http://127.0.0.1:{self.port}"

    def cpu(self) -> float:
        """Return the CPU seconds of the process and its children so far."""
        return sum(map(_cpu_seconds, _tree(self.pid)))

    def memory(self, what: str = "VmRSS") -> float:
        """Return the memory of the process and its children in MB: now (`VmRSS`) or the maximum (`VmHWM`)."""
        return sum(_status(pid, what) for pid in _tree(self.pid)) / 1024


@contextmanager
def running(*command: str, **environment: str) -> Iterator[Running]:
    """Run a server until the block ends. The block starts when the server has printed its address."""
    process = subprocess.Popen(
        command, cwd=ROOT, env=clean(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    try:
        log = ""
        for line in process.stdout:
            log += line
            if address := _ADDRESS.search(line):
                break
        else:
            raise RuntimeError(f"{' '.join(command)} ended:\n{log}")
        # Read the rest of the log, so that the process never blocks on a full pipe.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield Running(int(address[1]), process.pid)
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def stub(delay: float = 0.0, port: int = 0) -> Iterator[Running]:
    """Run the stub provider. Each call takes `delay` seconds."""
    command = (sys.executable, "-m", "benchmarks.stub", "--delay", str(delay), "--port", str(port))
    with running(*command) as server:
        yield server


@contextmanager
def bridge(provider: Running | None = None, workspace: Path = WORKSPACE, **settings: str) -> Iterator[Running]:
    """Run the service with `provider` as its OpenAI provider, or with `builtin` by default."""
    command = (str(SCRIPT), "serve", "--port", "0", "--workspace", str(workspace))
    with running(*command, **wired(provider), **settings) as server:
        yield server


@contextmanager
def baseline(provider: Running) -> Iterator[Running]:
    """Run the baseline: the smallest server that sends the same request."""
    with running(sys.executable, "-m", "benchmarks.baseline", **wired(provider)) as server:
        yield server


def wired(provider: Running | None) -> dict[str, str]:
    """Return the environment that makes `provider` the default provider."""
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
    """Return this environment without variables for providers, proxies, bytecode or the bridge, plus `environment`."""
    kept = {name: value for name, value in os.environ.items() if not _CONFIGURATION.fullmatch(name)}
    return {**kept, "PYTHONUNBUFFERED": "1", **(environment or {})}


def settle() -> None:
    """Wait until a server that has just started is idle."""
    time.sleep(0.3)


def _tree(pid: int) -> list[int]:
    children = [int(child) for task in _tasks(pid) for child in (task / "children").read_text().split()]
    return [pid, *(descendant for child in children for descendant in _tree(child))]


def _tasks(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").iterdir())


def _cpu_seconds(pid: int) -> float:
    """Return user and system time of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def _status(pid: int, name: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    match = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(match[1]) if match else 0
