"""Send the requests of an SDK that uses httpx (ollama) through the shared httpx2 client."""

from collections.abc import AsyncIterator

import httpx
import httpx2

from providers.base import Image
from providers.transport import TIMEOUT


class BridgeTransport(httpx.AsyncBaseTransport):
    """Transport of one call, which sets the key and inserts the image. Its exceptions are those of httpx2."""

    def __init__(self, shared: httpx2.AsyncClient, key: str, image: Image | None) -> None:
        self._shared = shared
        self._key = key
        self._image = image

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request. Raises httpx2.HTTPStatusError for error statuses. (The SDK's error has no headers.)"""
        body = request.content if self._image is None else self._image.inserted(request.content)
        # Without a key the SDK sends $OLLAMA_API_KEY to any address (measured with ollama 0.6.3).
        own = ("authorization", "content-length", "transfer-encoding")
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in own]
        if self._key:
            headers.append(("Authorization", f"Bearer {self._key}"))
        sent = httpx2.Request(
            request.method, str(request.url), headers=headers, content=body, extensions={"timeout": TIMEOUT.as_dict()}
        )
        response = await self._shared.send(sent, stream=True, follow_redirects=False)
        if not response.is_success:
            await response.aread()
            response.raise_for_status()
        return httpx.Response(response.status_code, headers=response.headers.raw, stream=_Body(response))


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: httpx2.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._response.aiter_raw():
            yield chunk

    async def aclose(self) -> None:
        await self._response.aclose()
