"""Server-sent events over a POST: one request, its events, and the end of the provider's call when nobody reads."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

from fastapi.sse import format_sse_event
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bridge.api import events, state
from bridge.api.drain import Drain
from bridge.api.leaving import STALL_SECONDS, Reader, gone
from bridge.captioning.events import Event
from bridge.captioning.services import Services
from bridge.captioning.stream import Stream
from bridge.deadline import Deadline
from bridge.errors import ShuttingDown

MEDIA_TYPE = "text/event-stream"
PING_SECONDS = 15.0
Write = Callable[[bytes], Awaitable[None]]


class Pinged(Response, ABC):
    """Sends what `tell` writes as it comes: a slow reader holds it back, nothing piles up.

    A comment goes out every `ping` seconds. A client that leaves ends the work, and so does one that takes nothing
    for `stall` seconds or after the time of the request.
    """

    media_type = MEDIA_TYPE

    def __init__(self, until: Deadline, ping: float = PING_SECONDS, stall: float = STALL_SECONDS) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._until = until
        self._ping = ping
        self._stall = stall

    @abstractmethod
    async def tell(self, write: Write) -> None:
        """Do the work, writing whole blocks."""

    def stop(self, telling: asyncio.Future[None], reason: Exception) -> None:
        """End the telling, with a word of the reason where one can be told."""
        telling.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what is told."""
        drain: Drain = scope["state"]["drain"]
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        reader = Reader(send, self._stall)

        async def write(block: bytes, *, more: bool = True) -> None:
            await reader.take({"type": "http.response.body", "body": block, "more_body": more}, self._until)

        async def ping() -> None:
            while True:
                await asyncio.sleep(self._ping)
                await write(b": ping\n\n")

        telling = asyncio.ensure_future(self.tell(write))
        beside = [asyncio.create_task(one) for one in (ping(), gone(receive), _set(reader.gone))]
        try:
            await asyncio.wait([telling, *beside], return_when=asyncio.FIRST_COMPLETED)
            if telling.done():
                await telling
                await write(b"", more=False)
            else:
                reader.gone.set()
        except asyncio.CancelledError:
            if not drain.ends_this():
                raise
            self.stop(telling, ShuttingDown())
            await asyncio.wait([telling])
            await write(b"", more=False)
        finally:
            for task in (telling, *beside):
                task.cancel()
            await asyncio.gather(telling, *beside, return_exceptions=True)


async def _set(event: asyncio.Event) -> None:
    await event.wait()


class EventStream(Pinged):
    """Runs `job` and sends its events.

    FastAPI's own SSE is per route, and these routes answer JSON too (measured with FastAPI 0.165).
    """

    def __init__(
        self,
        request: Request,
        services: Services,
        until: Deadline,
        job: Callable[[Stream], Awaitable[None]],
    ) -> None:
        """`job` is given the stream to fill; `until` is when it has to be done."""
        super().__init__(until)
        self._request = request
        self._resources = services
        self._job = job
        self._stream: Stream | None = None

    def stop(self, telling: asyncio.Future[None], reason: Exception) -> None:
        """Tell it of each perspective that has not ended; where all have, nothing is left but to tell the end."""
        if self._stream is None or not self._stream.over:
            telling.cancel()
        if self._stream is not None:
            self._stream.reason = reason

    async def tell(self, write: Write) -> None:
        """Send each event of the job."""
        identity = state.request_id(self._request)

        async def emit(event: Event) -> None:
            told = events.wire(event, identity)
            if isinstance(told, events.Error):
                state.note_problem(self._request, told.problem)
            await write(format_sse_event(data_str=told.model_dump_json(), event=told.type))

        self._stream = Stream(identity, identity, emit, self._resources)
        await self._job(self._stream)
