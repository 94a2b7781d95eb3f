"""Server-sent events over a POST: one request, its events, and the end of the provider's call when the client goes."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

from fastapi.sse import format_sse_event
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bridge.api import events
from bridge.api.leaving import gone
from bridge.captioning.events import Event
from bridge.captioning.resources import Resources
from bridge.captioning.stream import Stream

MEDIA_TYPE = "text/event-stream"
PING_SECONDS = 15.0
Write = Callable[[bytes], Awaitable[None]]


class Pinged(Response, ABC):
    """Sends what `tell` writes as it comes: a slow reader holds it back, nothing piles up.

    A comment goes out every `ping` seconds, and a client that leaves ends the work.
    """

    media_type = MEDIA_TYPE

    def __init__(self, ping: float = PING_SECONDS) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._ping = ping

    @abstractmethod
    async def tell(self, write: Write) -> None:
        """Do the work, writing whole blocks."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what is told."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        sending = asyncio.Lock()

        async def write(block: bytes) -> None:
            async with sending:
                await send({"type": "http.response.body", "body": block, "more_body": True})

        async def ping() -> None:
            while True:
                await asyncio.sleep(self._ping)
                await write(b": ping\n\n")

        telling = asyncio.ensure_future(self.tell(write))
        beside = [asyncio.create_task(ping()), asyncio.create_task(gone(receive))]
        try:
            await asyncio.wait([telling, *beside], return_when=asyncio.FIRST_COMPLETED)
            if telling.done():
                await telling
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            for task in (telling, *beside):
                task.cancel()
            await asyncio.gather(telling, *beside, return_exceptions=True)


class EventStream(Pinged):
    """Runs `job` and sends its events.

    FastAPI's own SSE is per route, and these routes answer JSON too (measured with FastAPI 0.165).
    """

    def __init__(
        self,
        request_id: str,
        resources: Resources,
        job: Callable[[Stream], Awaitable[None]],
        ping: float = PING_SECONDS,
    ) -> None:
        """`job` is given the stream to fill; `ping` is the seconds of silence after which a comment is sent."""
        super().__init__(ping)
        self._request_id = request_id
        self._resources = resources
        self._job = job

    async def tell(self, write: Write) -> None:
        """Send each event of the job."""

        async def emit(event: Event) -> None:
            told = events.wire(event, self._request_id)
            await write(format_sse_event(data_str=told.model_dump_json(), event=told.type))

        await self._job(Stream(self._request_id, self._request_id, emit, self._resources))
