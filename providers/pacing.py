"""One allowance of seconds over a whole streamed call."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing
from typing import TypeVar, cast

Part = TypeVar("Part")


async def paced(opening: Awaitable[AsyncIterator[Part]], seconds: float) -> AsyncGenerator[Part]:
    """Await `opening`, then yield its parts; raises TimeoutError once `seconds` are used up, and closes the source.

    The clock bounds the waiting for each part and never the consumer between two parts: a timeout around the
    whole loop would be delivered into the consumer's code.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    async with asyncio.timeout_at(deadline):
        parts = cast("AsyncGenerator[Part]", await opening)
    async with aclosing(parts):
        while True:
            async with asyncio.timeout_at(deadline):
                try:
                    part = await anext(parts)
                except StopAsyncIteration:
                    return
            yield part
