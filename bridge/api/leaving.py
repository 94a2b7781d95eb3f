"""A client that leaves: nobody will read the answer, and the provider's call costs."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.types import Receive

from bridge.captioning.errors import Cancelled

T = TypeVar("T")


async def gone(receive: Receive) -> None:
    """Wait until the client has left; its body was read before."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def while_wanted(request: Request, making: Coroutine[Any, Any, T]) -> T:
    """What is made, unless the client leaves before: then it is stopped, and Cancelled is raised."""
    work, leaving = asyncio.create_task(making), asyncio.create_task(gone(request.receive))
    try:
        await asyncio.wait((work, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise Cancelled
        return await work
    finally:
        for task in (work, leaving):
            task.cancel()
        await asyncio.gather(work, leaving, return_exceptions=True)
