"""uvicorn's HTTP/1.1 protocol with a deadline and a size limit for request headers."""

import asyncio
import logging
import re
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from bridge.captioning import problems
from bridge.errors import HEADERS_TOO_LARGE, MALFORMED_REQUEST, TABLE, RequestTimeout, Row
from bridge.telemetry.logging import new_request_id

log = logging.getLogger("graphcap")
MAX_HEADER_BYTES = 64 * 1024
_H2C = re.compile(rb"\r\nupgrade:[^\r\n]*h2c[^\r\n]*", re.IGNORECASE)


class RequestProtocol(HttpToolsProtocol):
    """One client connection. uvicorn 0.54 limits neither the time nor the size of request headers.

    No other class of the project extends a dependency's protocol. tests/api/test_http_protocol.py fails if the methods
    and attributes that are used here change.
    """

    header_timeout = 10.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer: asyncio.TimerHandle | None = None
        self._in_headers = False
        self._header_bytes = 0
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Receive a part of a request. Reject it if the headers are too large.

        The timer limits the time for the headers, and for a body that continues after the response. An offer of curl or
        Java to upgrade to HTTP/2 is removed, because uvicorn would drop the body.
        """
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._start_timer()
        if self._timer is not None and b"h2c" in data:
            headers, end, body = data.partition(b"\r\n\r\n")
            data = _H2C.sub(b"", headers) + end + body
        super().data_received(data)
        if self._in_headers:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._reject(HEADERS_TOO_LARGE, f"The request headers are larger than {MAX_HEADER_BYTES // 1024} KiB.")

    def on_message_begin(self) -> None:
        self._in_headers = True
        self._header_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._stop_timer()
        super().on_headers_complete()

    def handle_websocket_upgrade(self) -> None:
        """Switch to WebSocket. If the handshake is malformed, close the connection, which uvicorn would leave open."""
        super().handle_websocket_upgrade()
        protocol = self.transport.get_protocol()
        if isinstance(protocol, WebSocketsSansIOProtocol) and not protocol.handshake_initiated:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        self._reject(MALFORMED_REQUEST, "The request is not valid HTTP/1.1.")

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(self.header_timeout, self._time_out)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_out(self) -> None:
        if self._in_headers:
            detail = f"The request headers took longer than {self.header_timeout:g} seconds."
            self._reject(TABLE[RequestTimeout], detail)
        else:
            self.transport.close()

    def _reject(self, row: Row, detail: str) -> None:
        """Send a problem unless a response has begun. Then close the connection."""
        self._stop_timer()
        responding = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if not responding and not self.transport.is_closing():
            request_id = new_request_id()
            body = problems.from_row(row, detail, request_id).model_dump_json().encode()
            lines = (
                f"HTTP/1.1 {row.status} {HTTPStatus(row.status).phrase}",
                "content-type: application/json",
                f"content-length: {len(body)}",
                f"x-request-id: {request_id}",
                "x-content-type-options: nosniff",
                "connection: close",
            )
            self.transport.write("\r\n".join((*lines, "", "")).encode() + body)
            client = self.client[0] if self.client else ""
            fields = {"request_id": request_id, "status": row.status, "code": row.code, "client": client}
            log.info("request", extra={"fields": fields})
        self.transport.close()
