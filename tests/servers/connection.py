"""One connection of a wire server: requests are parsed with h11, responses written in pieces."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import h11

from tests.servers.reply import Reply

_BODILESS = (204, 304)


@dataclass(frozen=True)
class Request:
    """A complete request, unparsed."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class ConnectionEndedError(Exception):
    """Raised when the connection has ended."""


class Connection:
    """Read requests one after the other, and notice when the client disconnects during a response."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.sent = 0
        self.wire = h11.Connection(h11.SERVER, max_incomplete_event_size=1024 * 1024)

    async def run(self, serve: Callable[[Request], Awaitable[None]], on_hang_up: Callable[[], None]) -> None:
        """Serve until the client disconnects. Call `on_hang_up` if the response was incomplete by then."""
        try:
            while request := await self.request():
                await self.watched(serve(request), on_hang_up)
        except (ConnectionEndedError, ConnectionError, h11.RemoteProtocolError):
            pass
        finally:
            self.writer.close()

    async def request(self) -> Request | None:
        head: h11.Request | None = None
        body = bytearray()
        if self.wire.our_state is h11.MUST_CLOSE or self.wire.our_state is h11.CLOSED:
            return None
        while True:
            event = self.wire.next_event()
            if event is h11.NEED_DATA:
                self.wire.receive_data(await self.reader.read(256 * 1024))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                headers = {name.decode().lower(): value.decode("latin-1") for name, value in head.headers}
                return Request(head.method.decode(), head.target.decode(), headers, bytes(body))
            else:
                return None

    async def watched(self, work: Awaitable[None], on_hang_up: Callable[[], None]) -> None:
        serving = asyncio.ensure_future(work)
        watching = asyncio.ensure_future(self.hang_up())
        try:
            await asyncio.wait({serving, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                on_hang_up()
                raise ConnectionEndedError
            if isinstance(serving.exception(), ConnectionError):
                on_hang_up()
            serving.result()
            self.wire.start_next_cycle()
        finally:
            for task in (serving, watching):
                task.cancel()
            await asyncio.gather(serving, watching, return_exceptions=True)

    async def hang_up(self) -> None:
        """Return when the client has closed its side; keep the bytes that it sends before that."""
        try:
            while data := await self.reader.read(64 * 1024):
                self.wire.receive_data(data)
        except ConnectionError:
            return

    async def send(self, reply: Reply) -> None:
        """Send a complete, well-formed response; omit the body for a status that has none."""
        body = b"" if reply.status in _BODILESS else None if reply.streamed else reply.body
        await self.head(reply, None if body is None else len(body))
        for chunk in reply.chunks if body is None else [body] if body else []:
            await self.data(chunk)
        await self.end()

    async def head(self, reply: Reply, length: int | None) -> None:
        framing = {"transfer-encoding": "chunked"} if length is None else {"content-length": str(length)}
        headers: Mapping[str, str] = {"content-type": reply.content_type, **framing, **reply.headers}
        fields = [(name.encode(), value.encode()) for name, value in headers.items()]
        reason = HTTPStatus(reply.status).phrase.encode() if reply.status in set(HTTPStatus) else b"QueueFull"
        await self.write(self.wire.send(h11.Response(status_code=reply.status, headers=fields, reason=reason)))

    async def data(self, data: bytes) -> None:
        await self.write(self.wire.send(h11.Data(data=data)))

    async def end(self) -> None:
        await self.write(self.wire.send(h11.EndOfMessage()))

    async def write(self, data: bytes | None) -> None:
        self.writer.write(data or b"")
        self.sent += len(data or b"")
        await self.writer.drain()

    async def cut(self) -> None:
        """Close the connection before the end of the response."""
        await self.writer.drain()
        raise ConnectionEndedError

    def reset(self) -> None:
        """Close the connection with RST."""
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        raise ConnectionEndedError
