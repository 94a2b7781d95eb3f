"""Watch the client's connection. If the client disconnects or stops reading, its work is cancelled."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Message, Receive, Send
from starlette.websockets import WebSocketDisconnect

from bridge.deadline import Deadline
from bridge.errors import Cancelled

T = TypeVar("T")
STALL_SECONDS = 30.0
_LINGER_SECONDS = 5.0  # after the deadline, to accept the last message


class Writer:
    """Sends messages to the client, one after another.

    If the client does not accept a message within `STALL_SECONDS`, or soon after the deadline of the request, or is
    disconnected, `closed` is set and all later messages are dropped.
    """

    def __init__(self, send: Send) -> None:
        self.closed = asyncio.Event()
        self._send = send
        self._lock = asyncio.Lock()

    async def send(self, message: Message, deadline: Deadline | None = None) -> None:
        """Send a message, and return when it is accepted or dropped. `deadline`: the deadline of its request."""
        async with self._lock:
            if self.closed.is_set():
                return
            seconds = STALL_SECONDS if deadline is None else min(STALL_SECONDS, deadline.left() + _LINGER_SECONDS)
            try:
                async with asyncio.timeout(seconds):
                    await self._send(message)
            # uvicorn raises RuntimeError after it closed a WebSocket: protocol error, oversized frame, ping timeout
            except (TimeoutError, WebSocketDisconnect, OSError, RuntimeError):
                self.closed.set()


async def disconnected(receive: Receive) -> None:
    """Wait until the client disconnects. Call this after the request body was read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def first_of(*events: asyncio.Event) -> None:
    tasks = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def until(end: Coroutine[Any, Any, object], work: Coroutine[Any, Any, T]) -> T:
    """Run `work` and return its result. If `end` finishes first, cancel the work and raise Cancelled."""
    working, ending = asyncio.create_task(work), asyncio.create_task(end)
    try:
        await asyncio.wait((working, ending), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Cancelled
        return await working
    finally:
        for task in (working, ending):
            task.cancel()
        await asyncio.gather(working, ending, return_exceptions=True)
