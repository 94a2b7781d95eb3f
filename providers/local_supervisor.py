"""The supervisor of the embedded engines: one child process per model for all workers of a bridge.

The supervisor runs in a thread of the main process. `Engines` sends requests to it through a socket that workers
inherit. Each request contains one end of a new socket pair, the lease. The supervisor sends a message on the lease when
the engine is ready and when it dies. The engine is in use until the other end is closed, so a worker that dies releases
its engines.

The thread starts every child and runs until the process ends, because the kernel kills a child when the *thread* that
started it ends.
"""

import asyncio
import json
import logging
import os
import secrets
import socket
import sys
import time
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Literal
from urllib.parse import urlsplit

from providers.errors import CallTimeout, EngineFailed
from providers.local_engine import Options

log = logging.getLogger("graphcap")
IDLE_SECONDS = 300.0
_MAX_REQUEST = 65536
_DEATH_SECONDS = 5.0
"""Seconds that a failed call waits for a report of the engine's death."""
_REPORT_SECONDS = 5.0
"""Seconds for the supervisor to report the state of the engines."""
_END_SECONDS = 5.0
"""Seconds for an engine to end after its input was closed. Then it is killed."""
_ROOT = Path(__file__).parents[1]
# Environment variables that an interpreter and a GPU backend may need. None of them is a key.
_ENVIRONMENT = ("LD_LIBRARY_PATH", "PYTHONHOME", "SYSTEMROOT", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
_CAUSES = (  # llama.cpp's log lines and their causes (measured with xllamacpp 2026.10)
    ("mismatch between text model", "The vision projector belongs to another model. Use the mmproj of this model."),
    ("CLIP cannot be used as main model", "The file is a vision projector. Name the text model that belongs to it."),
    ("Failed to load CLIP model", "The mmproj is not a vision projector. Use the mmproj of this model."),
    ("not within the file bounds", "The file is incomplete. Download it again."),
    ("failed to allocate", "There is too little memory. Choose a smaller model, or end other programs."),
)
State = Literal["stopped", "loading", "ready"]


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """`idle`: seconds until an engine without calls ends. `gpu_layers`: layers on the GPU, -1 for all that fit."""

    idle: float = IDLE_SECONDS
    gpu_layers: int = -1


@dataclass(frozen=True, slots=True)
class Address:
    """The URL of an engine, and its key."""

    url: str
    key: str = field(repr=False)


class _Engine:
    """One model, and the child process that runs it on demand. Used only on the supervisor's event loop."""

    def __init__(self, options: Options, idle: float) -> None:
        self._options, self._idle = options, idle
        self._process: Process | None = None
        self._url = ""
        self._starting = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._errors: deque[str] = deque(maxlen=20)
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
        if was_ready and process.stdin is not None:
            process.stdin.close()
            asyncio.get_running_loop().call_later(_END_SECONDS, self._kill, process)
        else:
            process.kill()

    @staticmethod
    def _kill(process: Process) -> None:
        if process.returncode is None:
            process.kill()

    async def join(self) -> None:
        if self._process is not None:
            await self.ended.wait()

    def report(self) -> dict[str, Any]:
        """Return the state for `/health` and `/info`."""
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
        self.state, self.ended = "loading", asyncio.Event()
        self._errors.clear()
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
        watcher = asyncio.create_task(self._watch(self._process))
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(ConnectionError):
            self._process.stdin.write(json.dumps(asdict(self._options)).encode() + b"\n")
        line = await self._process.stdout.readline()
        reply: dict[str, Any] = json.loads(line) if line else {}
        if "url" not in reply:
            self.stop()
            await watcher
            raise EngineFailed(reply.get("error") or self._cause())
        self._url, self.load_seconds, self.state = reply["url"], round(time.monotonic() - start, 3), "ready"

    async def _watch(self, process: Process) -> None:
        """Read llama.cpp's log until the child ends, and keep its errors. They contain no prompt."""
        assert process.stderr is not None
        async for line in process.stderr:
            self._errors.append(line.decode(errors="replace").strip())
        self.last_exit = await process.wait()
        self.state = "stopped"
        self.ended.set()

    def _cause(self) -> str:
        text = "\n".join(self._errors)
        name = self._options.name
        sentence = next((sentence for mark, sentence in _CAUSES if mark in text), "")
        if not sentence and self.last_exit and self.last_exit < 0:
            sentence = f"Its process ended with signal {-self.last_exit}. If memory was short, choose a smaller model."
        return f"The model '{name}' cannot be loaded. {sentence or 'llama.cpp does not support the file.'}"


class Supervisor:
    """Runs the engines in a thread with an event loop. `control` is the socket that workers inherit."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._requests, self.control = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._engines: dict[Options, _Engine] = {}
        self._leases: set[asyncio.Task[None]] = set()
        self._thread = Thread(target=self._run, name="engines", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop all engines, and wait until they have ended."""
        with suppress(OSError):
            self.control.send(b"")
        self._thread.join()
        self.control.close()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        self._requests.setblocking(False)
        readable, closing = asyncio.Event(), False
        loop.add_reader(self._requests, readable.set)
        while not closing:
            await readable.wait()
            readable.clear()
            with suppress(BlockingIOError):
                while not closing:
                    data, descriptors, *_ = socket.recv_fds(self._requests, _MAX_REQUEST, 1)
                    closing = not data
                    for descriptor in descriptors:
                        lease = loop.create_task(self._lease(json.loads(data), socket.socket(fileno=descriptor)))
                        self._leases.add(lease)
                        lease.add_done_callback(self._leases.discard)
        loop.remove_reader(self._requests)
        self._requests.close()
        for engine in self._engines.values():
            engine.stop()
        for engine in self._engines.values():
            await engine.join()

    async def _lease(self, request: dict[str, Any], connection: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        try:
            if "status" in request:
                _write(writer, [engine.report() for engine in self._engines.values()])
                await writer.drain()
            else:
                await self._hold(request, reader, writer)
        except (EngineFailed, OSError) as error:
            _write(writer, {"error": str(error)})
        finally:
            writer.close()

    async def _hold(self, request: dict[str, Any], reader: StreamReader, writer: StreamWriter) -> None:
        """Start the engine, report its address, and hold it until the connection is closed or the engine ends."""
        options = replace(Options(**request), gpu_layers=self._settings.gpu_layers)
        engine = self._engines.setdefault(options, _Engine(options, self._settings.idle))
        for other in self._engines.values():
            if other is not engine and not other.users and engine.state == "stopped":
                other.stop()  # free its memory for the next engine
                await other.join()
        try:
            _write(writer, asdict(await engine.acquire()))
            closed, ended = asyncio.create_task(reader.read()), asyncio.create_task(engine.ended.wait())
            await asyncio.wait((closed, ended), return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                _write(writer, {"exit": engine.last_exit})
            for task in (closed, ended):
                task.cancel()
        finally:
            engine.release()


def _write(writer: StreamWriter, message: object) -> None:
    writer.write(json.dumps(message).encode() + b"\n")


class Engines:
    """Leases engines from the main process's supervisor, or from a new supervisor that starts at the first use.

    `paths`: model files that calls may name; None for all.
    """

    def __init__(
        self,
        settings: EngineSettings | None = None,
        control: socket.socket | None = None,
        *,
        paths: frozenset[str] | None = None,
    ) -> None:
        """`settings`: for a new supervisor. `control`: the inherited socket of the main process's supervisor."""
        self._settings = settings or EngineSettings()
        self._control = control
        self._own: Supervisor | None = None
        self._opening = Lock()
        self.paths = paths

    @asynccontextmanager
    async def lease(self, options: Options, timeout: float) -> "AsyncIterator[Lease]":
        """Start the engine of a model if it does not run, and hold it until the end of the block.

        `timeout`: seconds to wait for the model. Raises EngineFailed and CallTimeout.
        """
        reader, writer = await self._send(asdict(options))
        lease = Lease(reader)
        try:
            await lease.ready(options.name, timeout)
            yield lease
        finally:
            writer.close()

    async def is_ready(self, options: Options) -> bool:
        return any(row["model"] == options.name and row["state"] == "ready" for row in await self.report())

    async def report(self) -> list[dict[str, Any]]:
        """Return the state of every engine that has been used, or nothing if the supervisor does not respond."""
        if self._control is None:
            return []
        reader, writer = await self._send({"status": True})
        try:
            async with asyncio.timeout(_REPORT_SECONDS):
                rows: list[dict[str, Any]] = json.loads(await reader.readline() or b"[]")
        except TimeoutError:
            return []
        finally:
            writer.close()
        return rows

    def close(self) -> None:
        """Stop the new supervisor's engines, if there are any."""
        with self._opening:
            if self._own is not None:
                self._own.close()
                self._own = self._control = None

    async def _send(self, request: dict[str, Any]) -> tuple[StreamReader, StreamWriter]:
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._supervisor(), [json.dumps(request).encode()], [theirs.fileno()])
        return await asyncio.open_unix_connection(sock=ours)

    def _supervisor(self) -> socket.socket:
        with self._opening:
            if self._control is None:
                self._own = Supervisor(self._settings)
                self._control = self._own.control
            return self._control


class Lease:
    """The right to call an engine until the lease is closed."""

    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader
        self.address = Address("", "")

    async def ready(self, model: str, timeout: float) -> None:
        """Wait until the model is loaded. Raises EngineFailed, and CallTimeout after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                line = await self._reader.readline()
        except TimeoutError:
            raise CallTimeout(
                f"The model '{model}' was still loading after {timeout:.3g} seconds. Send the request again, or raise "
                "the time limit."
            ) from None
        message = json.loads(line or b'{"error": "The bridge shuts down."}')
        if "error" in message:
            raise EngineFailed(message["error"])
        self.address = Address(**message)

    async def death(self) -> int | None:
        """Return the exit code of an engine that died during the call (negative for a signal), otherwise None."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_DEATH_SECONDS):
                if not await self._responds():
                    code: int | None = json.loads(await self._reader.readline() or b"{}").get("exit")
                    return code
        return None

    async def _responds(self) -> bool:
        address = urlsplit(self.address.url)
        try:
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            writer.write(b"GET /health HTTP/1.0\r\n\r\n")
            first = await reader.read(1)
            writer.close()
        except OSError:
            return False
        return bool(first)
