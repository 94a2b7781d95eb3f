"""uvicorn's WebSocket protocol with bounds on frames and readers."""

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from bridge.receiving.pace import STALL_SECONDS, Pace, Timer

MOST_FRAGMENTS = 4096


class Socket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, with patience that ends."""

    def connection_made(self, transport: Any) -> None:
        """Wait for nothing yet: an idle socket is pinged."""
        super().connection_made(transport)
        self._stall = Timer(self.loop, transport.abort)
        self._pace = Pace(self.loop, transport.abort, lambda: self.read_paused)

    def shutdown(self) -> None:
        """Close; what was no handshake has nobody to tell, and uvicorn fails when it tries (measured with 0.54)."""
        if self.handshake_initiated:
            super().shutdown()
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stall.stop()
        self._pace.end()
        super().connection_lost(exc)
        if self.handshake_initiated:
            # A generator that holds its last frame is a cycle that only gc would free, 20 MB each (websockets 17.4).
            self.conn.parser.close()
            self.conn.reader.buffer.clear()

    def data_received(self, data: bytes) -> None:
        """A frame that begins has to go on arriving."""
        self._pace.count(len(data))
        super().data_received(data)
        if not self.handshake_initiated:
            self.transport.abort()  # a handshake that the parser refused has no answer
            return
        # Both hold what has come of a message that is not whole (websockets 17.4, uvicorn 0.54).
        if len(self.frames) > MOST_FRAGMENTS:
            self.transport.abort()
        if self.conn.reader.buffer or self.frames:
            self._pace.begin()
        else:
            self._pace.end()

    def pause_writing(self) -> None:
        """The client does not take what is sent; not for ever. Nothing of it is read meanwhile: pings are answered."""
        self._stall.start(STALL_SECONDS)
        self.transport.pause_reading()
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client takes it again."""
        self._stall.stop()
        if not self.read_paused:
            self.transport.resume_reading()
        super().resume_writing()
