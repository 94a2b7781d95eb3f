"""The waiting of one call: one allowance of seconds, and one seam where a stranger's exceptions become ours."""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from copy import copy
from functools import wraps
from typing import TypeVar, cast

from providers.addresses import NotDialled, shown
from providers.base import BaseClient, Completion, Delta, VisionRequest
from providers.errors import (
    BadReply,
    CallTimeout,
    ProviderError,
    RateLimited,
    SchemaRejected,
    ServerFailed,
    Unavailable,
    Unreachable,
)

T = TypeVar("T")
C = TypeVar("C", bound=BaseClient)
Answering = AsyncIterator[Delta | Completion]
# What an SDK lets through when a reply is JSON of another shape, or none.
MALFORMED = (ValueError, TypeError, AttributeError, LookupError, RecursionError)
# After these a caller may ask again, as it is or more simply.
_ASKED_AGAIN = (Unreachable, RateLimited, Unavailable, ServerFailed, SchemaRejected)
_WHY: Mapping[type[Exception], str] = {
    socket.gaierror: ": the name is unknown. Check the base URL.",
    ConnectionRefusedError: ": the connection was refused. Check that it runs, and the port of the base URL.",
    ssl.SSLCertVerificationError: ": its TLS certificate is not trusted.",
    ssl.SSLError: ": it does not speak TLS as asked. Check http or https in the base URL.",
    TimeoutError: ": it did not accept the connection in time.",
}
_WHO_KNOWS = ". Check that it runs and its base URL."
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
        except ProviderError as error:  # the pool's, out of an SDK
            failure = copy(error)
            _let_go(error)
        except self._foreign as error:
            failure = self._translated(error)
            _let_go(error)
        try:
            raise failure
        finally:
            del failure  # its traceback holds this frame, and that the picture: nobody but gc would free them

    async def each(self, opening: Awaitable[AsyncIterator[T]]) -> AsyncGenerator[T]:
        """Yield a stream's parts, each awaited within what is left; the time a consumer takes is not bounded."""
        parts = cast("AsyncGenerator[T]", await self.wait(opening))
        async with aclosing(parts):
            while (part := await self.wait(anext(parts, _END))) is not _END:
                yield cast("T", part)


def _let_go(error: Exception) -> None:
    """Forget where it came from: an SDK that keeps its errors keeps all their frames (tenacity in google-genai 3.4)."""
    for one in chain(error):
        one.__traceback__ = None


def bought(stream: Callable[[C, VisionRequest], Answering]) -> Callable[[C, VisionRequest], Answering]:
    """Make a client's `stream` say in its errors whether text had come: the caller would buy that text again.

    What is asked again elsewhere is a BadReply then.

    llama-server tells of output that it cannot read after some chunks, with a status (measured).
    """

    @wraps(stream)
    async def once(client: C, request: VisionRequest) -> AsyncGenerator[Delta | Completion]:
        begun = False
        try:
            async with aclosing(cast("AsyncGenerator[Delta | Completion]", stream(client, request))) as parts:
                async for part in parts:
                    begun = True
                    yield part
            return
        except ProviderError as error:
            error.begun = begun
            if not begun or not isinstance(error, _ASKED_AGAIN):
                raise
            failure = BadReply(
                f"{client.spec.title} failed in the middle of its answer.", status=error.status, usage=error.usage
            )
            failure.begun = True
        try:
            raise failure
        finally:
            del failure

    return once


def unreachable(title: str, base_url: str, error: Exception) -> Unreachable:
    """No connection. Its cause is a socket's or an address guard's own error: that holds no request.

    `base_url`: "" where nobody is to know it.
    """
    where = f" at {shown(base_url)}" if base_url else ""
    causes = list(chain(error))
    why = (words for kind, words in _WHY.items() for cause in causes if isinstance(cause, kind))
    refused = next((str(cause) for cause in causes if isinstance(cause, NotDialled)), "")
    failure = Unreachable(refused or f"Could not connect to {title}{where}{next(why, _WHO_KNOWS)}")
    failure.__cause__ = causes[-1]
    return failure


def timed_out(title: str, seconds: float) -> CallTimeout:
    """No whole answer in time."""
    return CallTimeout(f"{title} did not answer within {round(seconds, 2):g} seconds.")


def chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it was raised from or while."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
