"""Send the events of one request as the response to its POST (server-sent events)."""

import asyncio

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic import RootModel
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bridge.api.connection import Writer, disconnected
from bridge.api.drain import Drain
from bridge.api.middleware.request_context import DISCONNECTED
from bridge.captioning.models import EVENT, ErrorEvent, Event
from bridge.captioning.stream import EventStream
from bridge.errors import ShuttingDown
from bridge.run import Run
from bridge.telemetry.record import RequestRecord

MEDIA_TYPE = "text/event-stream"


class StreamEvent(RootModel[Event]):
    """An event of a stream, over SSE or WebSocket. Over SSE, `type` is also the event name. `done` is the last one."""


class EventStreamResponse(Response):
    """Sends the events of a stream, and a comment after `ping` seconds without an event.

    The work is cancelled if the client disconnects or stops reading (see `Writer`).
    (FastAPI 0.165 supports SSE only for routes that send SSE alone.)
    """

    media_type = MEDIA_TYPE

    ping = 15.0

    def __init__(self, events: EventStream, run: Run) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events, self._deadline = events, run.deadline

    def encode(self, event: Event) -> bytes:
        """Encode the event. The result b"" means that the event is not sent."""
        return format_sse_event(data_str=EVENT.dump_json(event).decode(), event=event.type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        drain: Drain = scope["state"]["drain"]
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        writer = Writer(send)
        async with self._events:
            writing = asyncio.create_task(self._write(writer, scope["state"]["record"]))
            leaving = asyncio.create_task(disconnected(receive))
            try:
                await asyncio.wait((writing, leaving), return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                if not drain.uncancel():
                    raise
                self._events.cancel(ShuttingDown())
                await asyncio.wait((writing, leaving), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (writing, leaving):
                    task.cancel()
                await asyncio.gather(writing, leaving, return_exceptions=True)
        record: RequestRecord = scope["state"]["record"]
        left = writer.closed.is_set() or writing.cancelled()
        if left and not all(run.outcome for run in record.runs):
            record.status, record.code = DISCONNECTED, "cancelled"
        if not writing.cancelled():
            writing.result()

    async def _write(self, writer: Writer, record: RequestRecord) -> None:
        """Send the events until `done`, or until the client stops reading."""
        while not writer.closed.is_set():
            try:
                async with asyncio.timeout(self.ping):
                    event = await anext(self._events, None)
            except TimeoutError:
                block = KEEPALIVE_COMMENT
            else:
                if event is None:
                    break
                if isinstance(event, ErrorEvent):
                    record.code = event.problem.code
                block = self.encode(event)
            if block:
                await writer.send({"type": "http.response.body", "body": block, "more_body": True}, self._deadline)
        await writer.send({"type": "http.response.body", "body": b"", "more_body": False})
