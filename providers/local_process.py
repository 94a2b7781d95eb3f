"""The child process of an embedded engine: start it, read its log, and end it when it is idle."""

import asyncio
import json
import os
import secrets
import sys
import time
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from providers.errors import EngineFailed
from providers.local_engine import Options

_END_SECONDS = 5.0
"""Seconds for an engine to end after its input was closed. Then it is killed."""
_MAX_LOG = 16 * 1024  # bytes of llama.cpp's log that are kept
_ROOT = Path(__file__).parents[1]
# Environment variables that an interpreter and a GPU backend may need. None of them is a key.
_ENVIRONMENT = ("LD_LIBRARY_PATH", "PYTHONHOME", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
_CAUSES = (  # llama.cpp's log lines and their causes (measured with xllamacpp 2026.10)
    ("mismatch between text model", "The vision projector belongs to another model. Use the mmproj of this model."),
    ("CLIP cannot be used as main model", "The file is a vision projector. Name the text model that belongs to it."),
    ("Failed to load CLIP model", "The mmproj is not a vision projector. Use the mmproj of this model."),
    ("not within the file bounds", "The file is incomplete. Download it again."),
    ("couldn't bind HTTP server socket", "No port of this machine is free. End other programs."),
    ("failed to allocate", "There is too little memory. Choose a smaller model, or end other programs."),
)
State = Literal["stopped", "loading", "ready"]


@dataclass(frozen=True, slots=True)
class Address:
    """The URL of an engine, and its key."""

    url: str
    key: str = field(repr=False)


class EngineProcess:
    """One model, and the child process that runs it on demand. Used only on the supervisor's event loop."""

    def __init__(self, options: Options, idle: float) -> None:
        self._options, self._idle = options, idle
        self._process: Process | None = None
        self._url = ""
        self._starting = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._log = b""
        self.ended = asyncio.Event()
        self.users = 0
        self.state: State = "stopped"
        self.last_exit: int | None = None
        self.load_seconds: float | None = None

    async def acquire(self) -> Address:
        """Start the engine if it does not run, and return its address. Raises EngineFailed."""
        self.users += 1
        if self._timer is not None:
            self._timer.cancel()
        async with self._starting:
            if self.state != "ready":
                await self._start()
        return Address(self._url, self._options.key)

    def release(self) -> None:
        """End the engine after the idle time unless it is acquired again."""
        self.users -= 1
        if not self.users:
            self._timer = asyncio.get_running_loop().call_later(self._idle, self.stop)

    def stop(self) -> None:
        """End the child process: close its input if the model is loaded, otherwise send a signal."""
        process, was_ready, self.state = self._process, self.state == "ready", "stopped"
        if process is None or process.returncode is not None:
            return
        if was_ready:
            self._close(process)
        else:
            process.kill()

    def _close(self, process: Process) -> None:
        """Close the input of the child, and kill it if it does not end."""
        assert process.stdin is not None
        process.stdin.close()
        asyncio.get_running_loop().call_later(_END_SECONDS, self._kill, process)

    @staticmethod
    def _kill(process: Process) -> None:
        if process.returncode is None:
            process.kill()

    async def join(self) -> None:
        if self._process is not None:
            await self.ended.wait()

    def report(self) -> dict[str, Any]:
        """Return the state of the engine for `/health` and `/info`."""
        return {
            "model": self._options.name,
            "state": self.state,
            "calls": self.users,
            "load_seconds": self.load_seconds,
            "last_exit": self.last_exit,
            "file": self._options.model,
        }

    async def _start(self) -> None:
        await self.join()
        self._log = b""
        start = time.monotonic()
        self._options = replace(self._options, key=secrets.token_urlsafe(32))
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "providers.local_engine", str(os.getpid())),
            env={**environment, "PYTHONPATH": str(_ROOT)},
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        self.state, self.ended = "loading", asyncio.Event()
        watcher = asyncio.create_task(self._watch(self._process))
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(ConnectionError):
            self._process.stdin.write(json.dumps(asdict(self._options)).encode() + b"\n")
        line = await self._process.stdout.readline()
        reply: dict[str, Any] = json.loads(line) if line else {}
        if "url" not in reply:
            self._close(self._process)
            await watcher
            raise EngineFailed(reply.get("error") or self._cause())
        self._url, self.load_seconds, self.state = reply["url"], round(time.monotonic() - start, 3), "ready"

    async def _watch(self, process: Process) -> None:
        """Read llama.cpp's log until the child ends, and keep its last part. It contains errors but no prompt."""
        assert process.stderr is not None
        while part := await process.stderr.read(_MAX_LOG):
            self._log = (self._log + part)[-_MAX_LOG:]
        self.last_exit = await process.wait()
        self.state = "stopped"
        self.ended.set()

    def _cause(self) -> str:
        text, name = self._log.decode(errors="replace"), self._options.name
        sentence = next((sentence for mark, sentence in _CAUSES if mark in text), "")
        if not sentence and self.last_exit and self.last_exit < 0:
            sentence = f"Its process ended with signal {-self.last_exit}. If memory was short, choose a smaller model."
        return f"The model '{name}' cannot be loaded. {sentence or 'llama.cpp does not support the file.'}"
