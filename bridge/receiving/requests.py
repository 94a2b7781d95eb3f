"""uvicorn's HTTP protocol with bounds on heads, bodies, and readers."""

import asyncio
import re

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from websockets.exceptions import InvalidHeader
from websockets.headers import parse_connection, parse_subprotocol

from bridge import errors
from bridge.api.ending import end
from bridge.captioning import problems
from bridge.errors import Row
from bridge.receiving.pace import STALL_SECONDS, Pace, Timer, settings
from bridge.telemetry import Account, new_request_id

HEAD_BYTES = 64 * 1024
LINGER_SECONDS = 10.0
_WRAPPING = 8  # bytes around each of a body: five when every chunk holds one
_MOST_WAITING = 1000  # requests that were sent behind one that is not answered
# More and longer fields than a WebSocket's handshake may have (websockets 17.4), which then would not be answered.
_MOST_FIELDS, _LONGEST_FIELD = 100, 8000
_PARSED = {b"connection": parse_connection, b"sec-websocket-protocol": parse_subprotocol}
_WS_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
_H2C = re.compile(rb"\r\nupgrade:[^\r\n]*h2c[^\r\n]*", re.IGNORECASE)


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
        self._cycles: list[RequestResponseCycle] = []
        self._fields = self._raw = self._body = 0
        self._head.start(settings().head_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop()
        # uvicorn tells the last request alone that its client has left; those before it go on (measured with 0.54).
        for cycle in self._unfinished:
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)

    @property
    def _unfinished(self) -> list[RequestResponseCycle]:
        """The requests that are not answered yet."""
        return [one for one in self._cycles if not one.response_complete]

    def _stop(self) -> None:
        for one in (self._head, self._rest, self._stall):
            one.stop()
        self._pace.end()

    def data_received(self, data: bytes) -> None:
        """Take what came, as long as it is a head of decent size or a body."""
        if self._between and not self._head.running:
            self._head.start(settings().head_timeout)
        self._raw += len(data)
        if self._between and b"h2c" in data:
            data = without_h2c(data)
        super().data_received(data)
        if self._head.running and self._raw > HEAD_BYTES:
            self._refuse_head()
        elif self._receiving and self._raw > 2 * HEAD_BYTES + _WRAPPING * self._body:
            self._answer(errors.MALFORMED_REQUEST, "The request's body is wrapped in more than it holds.")

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
        if self.cycle is not None and self.cycle.scope is self.scope:
            self._cycles = [*self._unfinished, self.cycle]
        if self.pipeline:
            self._queue_no_more()

    def _queue_no_more(self) -> None:
        """Go on reading: uvicorn stops when a request waits for another, and then nobody sees that the client left."""
        self.flow.resume_reading()
        if len(self.pipeline) > _MOST_WAITING:
            self.transport.close()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body += len(body)
        self._pace.count(len(body))
        super().on_body(body)
        if self.pipeline and self.flow.read_paused:
            self.transport.close()  # a body of this size is not kept while another request is under way

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
        """From here on another protocol reads, if this is a handshake that it answers and nothing else is under way."""
        names = {name for name, _ in self.headers}
        long = len(self.headers) > _MOST_FIELDS or any(len(n) + len(v) > _LONGEST_FIELD for n, v in self.headers)
        if long or len(self.url) > _LONGEST_FIELD:
            self._answer(
                errors.HEADERS_TOO_LARGE, "The handshake of a WebSocket has too many fields, or too long ones."
            )
        elif self._unfinished or names & {b"content-length", b"transfer-encoding"}:
            self._answer(
                errors.MALFORMED_REQUEST, "A WebSocket is opened by a request without a body, on its own connection."
            )
        elif not self._is_handshake():
            self._answer(
                errors.MALFORMED_REQUEST,
                "A WebSocket is opened by a GET in version 13 with one key, one origin at most, and no odd fields.",
            )
        else:
            self._stop()
            super().handle_websocket_upgrade()

    def _is_handshake(self) -> bool:
        """Whether websockets takes it: what that refuses bears no id and has no line in the log (websockets 17.4)."""
        keys = [value.strip() for name, value in self.headers if name == b"sec-websocket-key"]
        versions = [value.strip() for name, value in self.headers if name == b"sec-websocket-version"]
        fits = len(keys) == 1 and _WS_KEY.fullmatch(keys[0]) is not None
        try:
            for name, value in self.headers:
                if parse := _PARSED.get(name):
                    parse(value.decode("latin-1"))
        except InvalidHeader:
            return False
        origins = sum(name == b"origin" for name, _ in self.headers)
        return self.parser.get_method() == b"GET" and versions == [b"13"] and origins <= 1 and fits

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
            self._answer(errors.MALFORMED_REQUEST, "What came is not a request in HTTP/1.1.")

    def _refuse_head(self) -> None:
        self._answer(errors.HEADERS_TOO_LARGE, f"The request's head is larger than {HEAD_BYTES // 1024} KiB.")

    def _head_is_slow(self) -> None:
        if self._raw:
            self._answer(
                errors.REQUEST_TIMEOUT, f"The request's head took longer than {settings().head_timeout:g} seconds."
            )
        else:
            self.transport.close()

    def _body_is_slow(self) -> None:
        rate = settings().min_send_rate
        self._answer(errors.REQUEST_TIMEOUT, f"The request's body came more slowly than {rate} bytes a second.")

    def _answer(self, row: Row, sentence: str) -> None:
        """Answer in the place of the application, unless it has begun to, and hang up."""
        self._stop()
        in_head = self.cycle is None or self.cycle.scope is not self.scope
        others = [one for one in self._unfinished if in_head or one is not self.cycle]
        if not self.transport.is_closing() and not others and (in_head or not self.cycle.response_started):
            account = (None if in_head else self.scope["state"].get("account")) or Account(new_request_id())
            account.refused = row.code, row.status
            self.transport.write(whole_answer(row, sentence, account))
            if in_head:  # else the request's own line tells of it
                end(account, {"path": "", "client": self.client}, "")
        self.transport.close()
        self._stall.start(STALL_SECONDS)  # closing waits until what was written is taken


def without_h2c(data: bytes) -> bytes:
    """A request whose head does not ask for HTTP/2: curl does so where it may, and uvicorn then drops the body."""
    head, end, rest = data.partition(b"\r\n\r\n")
    return _H2C.sub(b"", head) + end + rest


def whole_answer(row: Row, sentence: str, account: Account) -> bytes:
    """A problem with its head, as it stands on the wire."""
    body = problems.from_row(row, sentence, account.id).model_dump_json().encode()
    head = (
        b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\nserver-timing: %b\r\n"
        b"x-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
        % (len(body), account.id.encode(), account.server_timing().encode())
    )
    return STATUS_LINE[row.status] + head + body
