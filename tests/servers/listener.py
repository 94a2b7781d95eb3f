"""A server on loopback with its own event loop and thread, which runs inside its `with` block."""

import asyncio
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Self

Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Listener(ABC):
    """Accept connections until the `with` block ends, then raise the first error of the server itself."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.port = 0
        self.connections = 0
        self.faults: list[BaseException] = []
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=type(self).__name__)
        self._tasks: set[asyncio.Task[None]] = set()
        self._transports: set[asyncio.WriteTransport] = set()

    @property
    def origin(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @abstractmethod
    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""

    def call_soon(self, event: asyncio.Event) -> None:
        """Set an event of the server's event loop from any thread."""
        self._loop.call_soon_threadsafe(event.set)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(60), "the server did not start"
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.call_soon(self._stopping)
        self._thread.join(60)
        assert not self._thread.is_alive(), "the server did not stop"
        if self.faults and error is None:
            raise self.faults[0]

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            runner.run(self._live())

    async def _live(self) -> None:
        self._stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(self._protocol, "127.0.0.1", self.port, ssl=self.tls)
        self.port = listening.sockets[0].getsockname()[1]
        self._started.set()
        await self._stopping.wait()
        # Stop accepting, and run the loop a few times before closing. asyncio creates the transport of an accepted
        # connection one iteration later; for a closed server this fails and leaks it (measured with Python 3.11).
        loop.remove_reader(listening.sockets[0].fileno())
        for _ in range(5):
            await asyncio.sleep(0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for transport in list(self._transports):
            transport.abort()
        await asyncio.sleep(0)
        listening.close()

    def _protocol(self) -> asyncio.Protocol:
        return Protocol(self._transports, self._accept)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            (fault,) = await asyncio.gather(self.accept(reader, writer), return_exceptions=True)
            self.faults += [fault] if fault is not None else []
        except asyncio.CancelledError:
            pass  # the server stops; the streams of Python 3.11 log a cancelled task as an error
        finally:
            self._tasks.discard(task)
            writer.close()


class Protocol(asyncio.StreamReaderProtocol):
    """Register every connection, so that one accepted too late to start its task is closed as well."""

    def __init__(self, transports: set[asyncio.WriteTransport], accept: Accept) -> None:
        super().__init__(asyncio.StreamReader(), accept)
        self._open = transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._open.add(transport)
        self._connection = transport
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self._connection)
        super().connection_lost(exc)
