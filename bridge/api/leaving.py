"""A client that leaves, or no longer reads: nobody takes the answer, and the provider's call costs."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.types import Message, Receive, Send
from starlette.websockets import WebSocketDisconnect

from bridge.deadline import Deadline
from bridge.errors import Cancelled

T = TypeVar("T")
STALL_SECONDS = 30.0
LINGER_SECONDS = 5.0


class Reader:
    """Who reads a stream. It takes one message after another: a slow reader holds the work back.

    One that takes none for `stall` seconds is given up, as is one that takes none when the request's time is over:
    `gone` is set, and what comes after is dropped.
    """

    def __init__(self, send: Send, stall: float = STALL_SECONDS, linger: float = LINGER_SECONDS) -> None:
        """`linger`: seconds that a message may wait after the request's time."""
        self.gone = asyncio.Event()
        self._send = send
        self._stall = stall
        self._linger = linger
        self._sending = asyncio.Lock()

    async def take(self, message: Message, until: Deadline | None = None) -> None:
        """Send it, and return when it is taken or dropped. `until` is the deadline of the request it belongs to."""
        async with self._sending:
            if self.gone.is_set():
                return
            patience = self._stall if until is None else min(self._stall, until.left() + self._linger)
            try:
                async with asyncio.timeout(patience):
                    await self._send(message)
            except (TimeoutError, WebSocketDisconnect):
                self.gone.set()


async def gone(receive: Receive) -> None:
    """Wait until the client has left; its body was read before."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def one_of(*events: asyncio.Event) -> None:
    """Wait until one of them is set."""
    waiting = [asyncio.create_task(one.wait()) for one in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


async def while_wanted(request: Request, making: Coroutine[Any, Any, T]) -> T:
    """What is made, unless the client leaves before: then it is stopped, and Cancelled is raised."""
    return await unless(gone(request.receive), making)


async def unless(left: Coroutine[Any, Any, object], making: Coroutine[Any, Any, T]) -> T:
    """What is made, unless `left` ends before: then it is stopped, and Cancelled is raised."""
    work, leaving = asyncio.create_task(making), asyncio.create_task(left)
    try:
        await asyncio.wait((work, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise Cancelled
        return await work
    finally:
        for task in (work, leaving):
            task.cancel()
        await asyncio.gather(work, leaving, return_exceptions=True)
