"""One call through an SDK: its time limit, its API key, and the translation of the SDK's exceptions."""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from providers.addresses import AddressNotAllowed, origin, shown
from providers.base import Credentials, Spec
from providers.errors import AuthFailed, BadReply, CallTimeout, ProviderError, RequestRejected, Unreachable

T = TypeVar("T")
CONNECT_SECONDS = 10.0
MALFORMED = (ValueError, TypeError, AttributeError, LookupError, RecursionError)  # what SDKs raise for malformed JSON
_CONNECT_CAUSES: Mapping[type[Exception], str] = {
    socket.gaierror: ": the host name is unknown. Check the base URL.",
    ConnectionRefusedError: ": the connection was refused. Check that the server runs, and the port of the base URL.",
    ssl.SSLCertVerificationError: ": its TLS certificate is not trusted.",
    ssl.SSLError: ": TLS failed. Check http or https in the base URL.",
    TimeoutError: ": it did not accept the connection in time.",
}
_END = object()


class Call:
    """The time limit of one provider call, and the translation of the SDK's exceptions to ProviderErrors."""

    def __init__(
        self, seconds: float, foreign: tuple[type[Exception], ...], translate: Callable[[Exception], ProviderError]
    ) -> None:
        """`seconds`: the time limit. `foreign`: the SDK's exceptions, translated in addition to those of httpx2."""
        import httpx2

        connection = (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError)
        self._foreign: tuple[type[Exception], ...] = (*foreign, *connection, *MALFORMED)
        self._translate = translate
        self._end = asyncio.get_running_loop().time() + seconds

    async def wait(self, step: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout_at(self._end):
                return await step
        except self._foreign as error:
            raise self._translate(error) from _socket_cause(error)

    async def responses(self, opening: Awaitable[Any], *, streamed: bool) -> AsyncGenerator[Any]:
        """Yield the result of `opening`, or the items of the stream that it opens, each within the remaining time."""
        response = await self.wait(opening)
        if not streamed:
            yield response
            return
        async with aclosing(response):
            while (item := await self.wait(anext(response, _END))) is not _END:
                yield item


def fits_header(key: str) -> bool:
    """Return whether a header can contain the key. Otherwise the HTTP library quotes the key in its message."""
    return key.isascii() and key.isprintable()


def api_key(credentials: Credentials, spec: Spec, base_url: str) -> str:
    """Return the API key for a header.

    Raises AuthFailed if a header cannot contain the key, or if the provider's own server requires a key and there is
    none.
    """
    key = credentials.api_key.strip()
    if not fits_header(key):
        raise AuthFailed(f"The API key for {spec.title} contains characters that no key has. Check {spec.key_places}.")
    if spec.needs_key and not key and origin(base_url) == origin(spec.base_url):
        raise AuthFailed(f"{spec.title} requires an API key. Set {spec.key_env[0]}, or send api_key with the request.")
    return key


def transport_error(error: Exception, title: str, base_url: str, seconds: float) -> ProviderError:
    """Translate an exception of httpx2, a socket, a timeout or a parser. `base_url`: shown in the message unless ""."""
    import httpx2

    causes = list(_chain(error))
    # The SDK wraps ProviderErrors raised by the pool in its own exceptions.
    own = next((cause for cause in causes if isinstance(cause, ProviderError)), None)
    if own is not None:
        return own
    unconnected = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError, httpx2.InvalidURL)
    if any(isinstance(cause, unconnected) for cause in causes):
        return _unreachable(title, base_url, causes)
    if any(isinstance(cause, TimeoutError | httpx2.TimeoutException) for cause in causes):
        return CallTimeout(f"{title} did not respond within {round(seconds, 2):g} seconds.")
    if isinstance(error, UnicodeEncodeError):
        return RequestRejected("The request contains half a surrogate pair, which cannot be encoded. Remove it.")
    if isinstance(error, MALFORMED) or any(isinstance(cause, httpx2.SSEError) for cause in causes):
        return foreign_reply(title)
    return Unreachable(f"The connection to {title} was lost before it responded.")


def foreign_reply(title: str) -> BadReply:
    """Return the error for a response that does not follow the provider's protocol."""
    return BadReply(f"The response is not one of {title}'s. Check the base URL.")


def _unreachable(title: str, base_url: str, causes: list[BaseException]) -> Unreachable:
    refused = next((str(cause) for cause in causes if isinstance(cause, AddressNotAllowed)), "")
    where = f" at {shown(base_url)}" if base_url else ""
    kinds = (text for kind, text in _CONNECT_CAUSES.items() for cause in causes if isinstance(cause, kind))
    reason = next(kinds, ". Check that the server runs, and its base URL.")
    return Unreachable(refused or f"Could not connect to {title}{where}{reason}")


def _socket_cause(error: BaseException) -> BaseException | None:
    """Return the socket or address error that caused the exception, or None. The cause contains no request data."""
    root = list(_chain(error))[-1]
    return root if isinstance(root, AddressNotAllowed | OSError) and root is not error else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
