"""The part of the pool that imports httpx2, which takes 0.3 s."""

import ssl
from collections.abc import AsyncIterator
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2

from providers.call import CONNECT_SECONDS
from providers.errors import BadReply, ResponseInterrupted, WrongPath

# `Call` limits the total time. With two equal limits, the exception would depend on chance.
TIMEOUT = httpx2.Timeout(None, connect=CONNECT_SECONDS)
MAX_REPLY_BYTES = 16 * 1024 * 1024  # maximum length of a response body
_MAX_IDLE = 128  # connections
_INTERRUPTED = (httpx2.NetworkError, httpx2.ProtocolError, OSError)


@cache
def ssl_context() -> ssl.SSLContext:
    """Return the TLS settings of all connections to providers. The settings are created once, which takes 17 ms."""
    return httpx2.create_ssl_context()


def open_client(transport: httpx2.AsyncBaseTransport | None, keepalive: float) -> httpx2.AsyncClient:
    """Open a client that checks every response. `keepalive`: seconds to keep idle connections open."""
    idle = _MAX_IDLE if keepalive else 0
    return httpx2.AsyncClient(
        transport=transport,
        verify=ssl_context(),
        cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=())),
        event_hooks={"request": [_refuse_compression], "response": [_check_response]},
        limits=httpx2.Limits(max_connections=1024, max_keepalive_connections=idle, keepalive_expiry=keepalive),
    )


class BoundedStream(httpx2.AsyncByteStream):
    """A response body. Raises BadReply if it is too long, and ResponseInterrupted if the connection is lost."""

    def __init__(self, body: httpx2.AsyncByteStream) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = 0
        try:
            async for chunk in self._body:
                received += len(chunk)
                if received > MAX_REPLY_BYTES:
                    raise BadReply(f"The provider's response is longer than {MAX_REPLY_BYTES} bytes.")
                yield chunk
        except _INTERRUPTED:
            raise ResponseInterrupted("The connection was lost in the middle of the provider's response.") from None

    async def aclose(self) -> None:
        """Return the connection to the pool, or close it if the body was not read to its end."""
        await self._body.aclose()


class KeyedTransport(httpx2.AsyncBaseTransport):
    """Transport of one call through a shared client. The header `header` is set to `key`, or removed without a key."""

    def __init__(self, shared: httpx2.AsyncClient, header: str, key: str) -> None:
        self._shared = shared
        self._header = header
        self._key = key
        self._responses: list[httpx2.Response] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers.pop(self._header, None)
        if self._key:
            request.headers[self._header] = self._key
        request.extensions["timeout"] = TIMEOUT.as_dict()
        self._responses.append(await self._shared.send(request, stream=True, follow_redirects=False))
        return self._responses[-1]

    @property
    def failed(self) -> httpx2.Response | None:
        """Return the first response whose status is not 200, or None. The SDK does not report all of these."""
        return next((response for response in self._responses if response.status_code != 200), None)

    async def close_responses(self) -> None:
        """Close all responses, because google-genai 3.4 does not close a stream that is not read to its end."""
        for response in self._responses:
            await response.aclose()


async def _refuse_compression(request: httpx2.Request) -> None:
    request.headers["Accept-Encoding"] = "identity"


async def _check_response(response: httpx2.Response) -> None:
    """Raise WrongPath for a redirect and BadReply for a compressed response, and limit the length of the body."""
    if response.has_redirect_location:
        raise WrongPath(
            "The provider answered with a redirect, which the bridge does not follow. "
            "Check the base URL: http or https, host and path.",
            status=response.status_code,
        )
    # A few compressed kilobytes can unpack to gigabytes, and the size limit applies to compressed bytes.
    if response.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
        raise BadReply("The provider sent a compressed response although none was requested.")
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    response.stream = BoundedStream(response.stream)
