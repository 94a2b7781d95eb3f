"""The real service: its own process, its own port, everything it wrote kept."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

from tests import written

ROOT = Path(__file__).parent.parent
WORKSPACE = ROOT / "workspace"
_ADDRESS = re.compile(r'serves (http://[^\s"]+)')
_HANG_GUARD = 60.0
T = TypeVar("T")
AMBIENT = re.compile(
    r"(OPENAI|ANTHROPIC|GEMINI|GOOGLE|OLLAMA|VLLM|OPENROUTER|LMSTUDIO|LM_STUDIO|LLAMACPP|LITELLM|OTEL|HF)_.*|.*_API_KEY"
    r"|GRAPHCAP_(?!REQUIRE_TOOLS).*|WEB_CONCURRENCY|COLUMNS|LINES|(HTTPS?|ALL|NO)_PROXY",
    re.IGNORECASE,
)


def clean_environment() -> dict[str, str]:
    """The environment without anything that configures the bridge, a provider or a proxy."""
    return {name: value for name, value in os.environ.items() if not AMBIENT.fullmatch(name)}


def until(condition: Callable[[], T], guard: float = _HANG_GUARD) -> T:
    """Poll until the condition is true, for at most `guard` seconds, and return its value."""
    end = time.monotonic() + guard
    while not (value := condition()):
        assert time.monotonic() < end, "the condition did not become true"
        time.sleep(0.01)
    return value


class Service:
    """`graphcap serve` on a free port, for as long as its `with` lasts. `environment` adds to a clean one."""

    def __init__(self, *options: str, workspace: Path = WORKSPACE, cwd: Path = ROOT, **environment: str) -> None:
        self._command = [*(sys.executable, "-m", "bridge.cli", "serve", "--port", "0", "--workspace", str(workspace))]
        self._command += options
        self._environment = {**clean_environment(), "PYTHONUNBUFFERED": "1", **environment}
        self._cwd = cwd
        self._started = threading.Event()
        self._told = threading.Condition()
        self.url = ""
        self.log = ""
        self.code: int | None = None

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self._command, cwd=self._cwd, env=self._environment, stderr=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._started.wait(_HANG_GUARD), f"the service did not start:\n{self.log}"
        assert self.url, f"the service ended:\n{self.log}"
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def request(self, method: str, path: str, timeout: float = _HANG_GUARD, **options: Any) -> httpx.Response:
        """Send a request without a proxy of the environment."""
        return httpx.request(method, self.url + path, timeout=timeout, trust_env=False, **options)

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.request("GET", path, headers=headers)

    def stop(self) -> int:
        """Ask it to stop; the exit code."""
        if self.process.poll() is None:
            written.keep(written.process(self.process.pid))
            self.process.send_signal(signal.SIGTERM)
        self.code = self.process.wait(_HANG_GUARD)
        self._reader.join(_HANG_GUARD)
        if self.process.stderr is not None:
            self.process.stderr.close()
            written.keep(self.log)
        return self.code

    def wait_for_log(self, text: str, times: int = 1) -> None:
        """Block until the log says it so often: an answer may be here before the lines written until then are."""
        with self._told:
            assert self._told.wait_for(lambda: self.log.count(text) >= times, _HANG_GUARD), f"no line says {text}"

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._told:
                self.log += line
                self._told.notify_all()
            if (found := _ADDRESS.search(line)) and not self.url:
                self.url = found[1]
                self._started.set()
        self._started.set()
