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
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from threading import Lock, Thread
from typing import Any
from urllib.parse import urlsplit

from providers.errors import CallTimeout, EngineFailed
from providers.local_engine import Options
from providers.local_process import Address, EngineProcess

_MAX_REQUEST = 65536
_DEATH_SECONDS = 5.0
"""Seconds that a failed call waits for a report of the engine's death."""
_REPORT_SECONDS = 5.0
"""Seconds for the supervisor to report the state of the engines."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """`idle`: seconds until an engine without calls ends. `gpu_layers`: layers on the GPU, -1 for all that fit."""

    idle: float = 300.0
    gpu_layers: int = -1


class Supervisor:
    """Runs the engines in a thread with an event loop. `control` is the socket that workers inherit."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._requests, self.control = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._engines: dict[Options, EngineProcess] = {}
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
        loop, closing = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._requests, self._accept, loop, closing)
        await closing.wait()
        loop.remove_reader(self._requests)
        self._requests.close()
        for engine in self._engines.values():
            engine.stop()
        for engine in self._engines.values():
            await engine.join()

    def _accept(self, loop: asyncio.AbstractEventLoop, closing: asyncio.Event) -> None:
        """Receive a request, and serve it in a task. An empty one comes from `close`."""
        data, descriptors, *_ = socket.recv_fds(self._requests, _MAX_REQUEST, 1)
        if not data:
            closing.set()
        for descriptor in descriptors:
            lease = loop.create_task(self._lease(json.loads(data), socket.socket(fileno=descriptor)))
            self._leases.add(lease)
            lease.add_done_callback(self._leases.discard)

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
        engine = self._engines.setdefault(options, EngineProcess(options, self._settings.idle))
        for other in list(self._engines.values()):  # another call may add an engine meanwhile
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
        """`settings`: those of a new supervisor. `control`: the inherited socket of the main process's supervisor."""
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
        try:
            yield Lease(reader, await _address(reader, options.name, timeout))
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


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to call the engine at `address` until the lease is closed. `reader`: messages of the supervisor."""

    reader: StreamReader
    address: Address

    async def death(self) -> int | None:
        """Return the exit code of an engine that died during the call (negative for a signal), otherwise None."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_DEATH_SECONDS):
                if not await self._responds():
                    code: int | None = json.loads(await self.reader.readline() or b"{}").get("exit")
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


async def _address(reader: StreamReader, model: str, timeout: float) -> Address:
    """Wait until the model is loaded. Raises EngineFailed, and CallTimeout after `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            line = await reader.readline()
    except TimeoutError:
        raise CallTimeout(
            f"The model '{model}' was still loading after {timeout:.3g} seconds. Send the request again, or raise "
            "the time limit."
        ) from None
    message = json.loads(line or b'{"error": "The bridge shuts down."}')
    if "error" in message:
        raise EngineFailed(message["error"])
    return Address(**message)
