"""The service in a separate process with its own port; its output is recorded."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

from tests import recorded_output
from tests.guard import GUARD
from tests.tools import children_of

ROOT = Path(__file__).parent.parent
WORKSPACE = ROOT / "workspace"
_ADDRESS = re.compile(r'serves (http://[^\s"]+)')
T = TypeVar("T")
AMBIENT = re.compile(
    r"(OPENAI|ANTHROPIC|GEMINI|GOOGLE|OLLAMA|VLLM|OPENROUTER|LMSTUDIO|LM_STUDIO|LLAMACPP|LITELLM|OTEL|HF)_.*|.*_API_KEY"
    r"|GRAPHCAP_(?!REQUIRE_TOOLS).*|WEB_CONCURRENCY|COLUMNS|LINES|(HTTPS?|ALL|NO)_PROXY|PYTHONDONTWRITEBYTECODE",
    re.IGNORECASE,
)


def clean_environment() -> dict[str, str]:
    """Return the environment without variables that configure the bridge, a provider, a proxy or Python's bytecode.

    A process that finds no bytecode needs a second more to start.
    """
    return {name: value for name, value in os.environ.items() if not AMBIENT.fullmatch(name)}


def until(condition: Callable[[], T], guard: float = GUARD) -> T:
    """Poll until the condition is true, for at most `guard` seconds, and return its value."""
    end = time.monotonic() + guard
    while not (value := condition()):
        assert time.monotonic() < end, "the condition did not become true"
        time.sleep(0.01)
    return value


class Service:
    """`graphcap serve` on a free port, inside its `with` block. `environment` is added to a clean environment."""

    def __init__(self, *options: str, workspace: Path = WORKSPACE, cwd: Path = ROOT, **environment: str) -> None:
        self._command = [*(sys.executable, "-m", "bridge.cli", "serve", "--port", "0", "--workspace", str(workspace))]
        self._command += options
        self._environment = {**clean_environment(), "PYTHONUNBUFFERED": "1", **environment}
        self._cwd = cwd
        self._started = threading.Event()
        self._log_changed = threading.Condition()
        self.url = ""
        self.log = ""
        self.code: int | None = None

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self._command, cwd=self._cwd, env=self._environment, stderr=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            assert self._started.wait(GUARD), f"the service did not start:\n{self.log}"
            assert self.url, f"the service ended:\n{self.log}"
        except BaseException:
            self._kill()
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def request(self, method: str, path: str, timeout: float = GUARD, **options: Any) -> httpx.Response:
        """Send a request without a proxy of the environment."""
        return httpx.request(method, self.url + path, timeout=timeout, trust_env=False, **options)

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.request("GET", path, headers=headers)

    def stop(self) -> int:
        """Stop the service with SIGTERM, and return its exit code."""
        if self.process.poll() is None:
            recorded_output.keep(recorded_output.process(self.process.pid))
            self.process.send_signal(signal.SIGTERM)
        try:
            self.code = self.process.wait(GUARD)
        except subprocess.TimeoutExpired:
            self._kill()
            raise
        finally:
            self._reader.join(GUARD)
            if self.process.stderr is not None:
                self.process.stderr.close()
                recorded_output.keep(self.log)
        return self.code

    def _kill(self) -> None:
        """Kill the service with its workers, which would outlive it."""
        workers = children_of(self.process.pid)
        self.process.kill()
        self.process.wait(GUARD)
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)

    def wait_for_log(self, text: str, times: int = 1) -> None:
        """Block until the log contains the text `times` times. A response may arrive before earlier log lines do."""
        with self._log_changed:
            assert self._log_changed.wait_for(lambda: self.log.count(text) >= times, GUARD), f"no line says {text}"

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._log_changed:
                self.log += line
                self._log_changed.notify_all()
            if (match := _ADDRESS.search(line)) and not self.url:
                self.url = match[1]
                self._started.set()
        self._started.set()
