"""The waiting of one call: one allowance of seconds, and one seam where a stranger's exceptions become ours."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import TypeVar, cast

from providers.errors import CallTimeout, ProviderError, Unreachable

T = TypeVar("T")
# What an SDK lets through when a reply is JSON of another shape, or none.
MALFORMED = (ValueError, TypeError, AttributeError, LookupError, RecursionError)
_END = object()


class Exchange:
    """Awaits an SDK's steps. Only these are in the seam: a mistake in our own code stays one."""

    def __init__(
        self,
        seconds: float,
        foreign: tuple[type[Exception], ...],
        translated: Callable[[Exception], ProviderError],
    ) -> None:
        """`foreign`: what a step may raise, beside OSError and MALFORMED; `translated` says what it means."""
        self._foreign: tuple[type[Exception], ...] = (*foreign, OSError, *MALFORMED)
        self._translated = translated
        self._end = asyncio.get_running_loop().time() + seconds

    async def wait(self, step: Awaitable[T]) -> T:
        """Await one step within what is left of the time.

        The error is raised outside the handler, so that no exception with a request or a reply inside hangs on it.
        """
        try:
            async with asyncio.timeout_at(self._end):
                return await step
        except self._foreign as error:
            failure = self._translated(error)
        raise failure

    async def each(self, opening: Awaitable[AsyncIterator[T]]) -> AsyncGenerator[T]:
        """Yield a stream's parts, each awaited within what is left; the time a consumer takes is not bounded."""
        parts = cast("AsyncGenerator[T]", await self.wait(opening))
        async with aclosing(parts):
            while (part := await self.wait(anext(parts, _END))) is not _END:
                yield cast("T", part)


def unreachable(title: str, error: Exception) -> Unreachable:
    """No connection. Its cause is a socket's or an address guard's own error: that holds no request."""
    failure = Unreachable(f"Could not connect to {title}. Check that it runs and its base URL.")
    *_, failure.__cause__ = chain(error)
    return failure


def timed_out(title: str, seconds: float) -> CallTimeout:
    """No whole answer in time."""
    return CallTimeout(f"{title} did not answer within {seconds:g} seconds.")


def chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it was raised from or while."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
