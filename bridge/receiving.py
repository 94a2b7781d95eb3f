"""How requests arrive: heads within a time and a size, bodies and frames at a pace; and answers, to who takes them.

uvicorn bounds none of these (measured with 0.54): a client that sends or reads a byte a minute would hold its
connection for ever.
"""

import asyncio
from collections.abc import Callable
from functools import cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from bridge import problems
from bridge.api.ending import end
from bridge.problems import Row
from bridge.settings import Settings, load
from bridge.telemetry import Account, new_request_id

HEAD_BYTES = 64 * 1024
STALL_SECONDS = 30.0
LINGER_SECONDS = 10.0
INTERVAL_SECONDS = 5.0
MOST_FRAGMENTS = 4096
_WRAPPING = 8  # bytes around each of a body: five when every chunk holds one


@cache
def settings() -> Settings:
    """The settings of this process, read once."""
    return load()


class Timer:
    """One timer of a connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, over: Callable[[], None]) -> None:
        """`over` is called when it runs out."""
        self._loop = loop
        self._over = over
        self._handle: asyncio.TimerHandle | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and has not run out."""
        return self._handle is not None

    def start(self, seconds: float) -> None:
        """Run out after so many seconds from now."""
        self.stop()
        self._handle = self._loop.call_later(seconds, self._run_out)

    def stop(self) -> None:
        """Do not run out."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _run_out(self) -> None:
        self._handle = None
        self._over()


class Pace:
    """How quickly something long arrives, looked at every few seconds."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        over: Callable[[], None],
        excused: Callable[[], bool],
        interval: float = INTERVAL_SECONDS,
    ) -> None:
        """`over` is called when it is too slow; `excused`: whether we are the ones who do not read."""
        self._over = over
        self._excused = excused
        self._interval = interval
        self._timer = Timer(loop, self._look)
        self._arrived = 0

    def begin(self) -> None:
        """Something begins to arrive; what already does goes on."""
        if settings().min_send_rate and not self._timer.running:
            self._arrived = 0
            self._timer.start(self._interval)

    def count(self, size: int) -> None:
        """So many bytes came."""
        self._arrived += size

    def end(self) -> None:
        """It is whole."""
        self._timer.stop()

    def _look(self) -> None:
        if self._arrived < settings().min_send_rate * self._interval and not self._excused():
            self._over()
        else:
            self.begin()


class Receiver(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with patience that ends."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a head."""
        super().connection_made(transport)
        self._head = Timer(self.loop, self._head_is_slow)
        self._rest = Timer(self.loop, transport.close)
        self._stall = Timer(self.loop, transport.abort)
        self._pace = Pace(self.loop, self._body_is_slow, lambda: self.flow.read_paused)
        self._receiving = self._in_head = False
        self._fields = self._raw = self._body = 0
        self._head.start(settings().head_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop()
        super().connection_lost(exc)

    def _stop(self) -> None:
        for one in (self._head, self._rest, self._stall):
            one.stop()
        self._pace.end()

    def data_received(self, data: bytes) -> None:
        """Take what came, as long as it is a head of decent size or a body."""
        if self._between and not self._head.running:
            self._head.start(settings().head_timeout)
        self._raw += len(data)
        super().data_received(data)
        if self._head.running and self._raw > HEAD_BYTES:
            self._refuse_head()
        elif self._receiving and self._raw > 2 * HEAD_BYTES + _WRAPPING * self._body:
            self._answer(problems.NOT_HTTP, "The request's body is wrapped in more than it holds.")

    @property
    def _between(self) -> bool:
        """Whether no request is under way: what comes is a head."""
        return not self._receiving and (self.cycle is None or self.cycle.response_complete)

    @property
    def unheard(self) -> bool:
        """Whether the connection is made and its first request is not here yet."""
        return self.cycle is None

    def on_message_begin(self) -> None:
        """A head begins."""
        self._receiving = self._in_head = True
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the address; raises ValueError when it is too long, which ends the request."""
        self._fields += len(url)
        if self._fields > HEAD_BYTES:
            raise ValueError("the head is too large")
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field of the head; raises ValueError when they are too many, which ends the request.

        What follows a chunked body is none: uvicorn would take a key or an address from there (measured with 0.54).
        """
        if not self._in_head:
            return
        self._fields += len(name) + len(value)
        if self._fields > HEAD_BYTES:
            raise ValueError("the head is too large")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole; a body may follow."""
        self._in_head = False
        self._head.stop()
        self._pace.begin()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body += len(body)
        self._pace.count(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._receiving = False
        self._fields = self._raw = self._body = 0
        self._pace.end()
        self._rest.stop()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Who was answered before his body was whole may send the rest, for a while: else he may miss the answer."""
        super().on_response_complete()
        if self._receiving and self.cycle.response_complete:
            self._rest.start(LINGER_SECONDS)

    def handle_websocket_upgrade(self) -> None:
        """From here on another protocol reads."""
        self._stop()
        super().handle_websocket_upgrade()

    def pause_writing(self) -> None:
        """The client does not take what is sent; not for ever."""
        self._stall.start(STALL_SECONDS)
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client takes it again."""
        self._stall.stop()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What came is not HTTP, or too much of it."""
        if self._fields > HEAD_BYTES:
            self._refuse_head()
        else:
            self._answer(problems.NOT_HTTP, "What came is not a request in HTTP/1.1.")

    def _refuse_head(self) -> None:
        self._answer(problems.LARGE_HEAD, f"The request's head is larger than {HEAD_BYTES // 1024} KiB.")

    def _head_is_slow(self) -> None:
        if self._raw:
            self._answer(problems.SLOW, f"The request's head took longer than {settings().head_timeout:g} seconds.")
        else:
            self.transport.close()

    def _body_is_slow(self) -> None:
        rate = settings().min_send_rate
        self._answer(problems.SLOW, f"The request's body came more slowly than {rate} bytes a second.")

    def _answer(self, row: Row, sentence: str) -> None:
        """Answer in the place of the application, unless it has begun to, and hang up."""
        self._stop()
        in_head = self.cycle is None or self.cycle.scope is not self.scope
        if not self.transport.is_closing() and (in_head or not self.cycle.response_started):
            account = (None if in_head else self.scope["state"].get("account")) or Account(new_request_id())
            account.refused = row.code, row.status
            self.transport.write(whole_answer(row, sentence, account))
            if in_head:  # else the request's own line tells of it
                end(account, {"path": "", "client": self.client}, "")
        self.transport.close()
        self._stall.start(STALL_SECONDS)  # closing waits until what was written is taken


def whole_answer(row: Row, sentence: str, account: Account) -> bytes:
    """A problem with its head, as it stands on the wire."""
    body = problems.tell(row, sentence, account.id).model_dump_json().encode()
    head = (
        b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\nserver-timing: %b\r\n"
        b"x-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
        % (len(body), account.id.encode(), account.server_timing().encode())
    )
    return STATUS_LINE[row.status] + head + body


class Socket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, with patience that ends."""

    def connection_made(self, transport: Any) -> None:
        """Wait for nothing yet: an idle socket is pinged."""
        super().connection_made(transport)
        self._stall = Timer(self.loop, transport.abort)
        self._pace = Pace(self.loop, transport.abort, lambda: self.read_paused)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stall.stop()
        self._pace.end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A frame that begins has to go on arriving."""
        self._pace.count(len(data))
        super().data_received(data)
        # Both hold what has come of a message that is not whole (websockets 17.4, uvicorn 0.54).
        if len(self.frames) > MOST_FRAGMENTS:
            self.transport.abort()
        if self.conn.reader.buffer or self.frames:
            self._pace.begin()
        else:
            self._pace.end()

    def pause_writing(self) -> None:
        """The client does not take what is sent; not for ever."""
        self._stall.start(STALL_SECONDS)
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client takes it again."""
        self._stall.stop()
        super().resume_writing()
