"""Send images to a running service, several concurrently, over persistent connections."""

import time
from base64 import b64encode
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import httpx

from tests.guard import GUARD

PATH = "/api/v1/perspectives/alt_text/caption"


@dataclass(frozen=True)
class Response:
    """A response: status, error code or "accepted", error detail, duration in seconds and JSON body."""

    status: int
    code: str
    detail: str
    seconds: float
    body: dict[str, Any]


class CaptionClient:
    """A client of one service that sends `concurrency` requests concurrently."""

    def __init__(self, url: str, concurrency: int = 4) -> None:
        limits = httpx.Limits(keepalive_expiry=2)
        self._client = httpx.Client(base_url=url, timeout=GUARD, trust_env=False, limits=limits)
        self._threads = ThreadPoolExecutor(concurrency)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()
        self._client.close()

    def send_both(self, images: Iterable[bytes]) -> list[tuple[Response, Response]]:
        """Send each image as base64 and as an upload."""
        return list(self._threads.map(lambda data: (self.send_base64(data), self.send_upload(data)), images))

    def send_all(self, images: Iterable[dict[str, str]]) -> list[Response]:
        """Send each value as `image` of a JSON request."""
        return list(self._threads.map(lambda image: self._post(json={"image": image}), images))

    def send_base64(self, data: bytes) -> Response:
        return self._post(json={"image": {"base64": b64encode(data).decode()}})

    def send_upload(self, data: bytes) -> Response:
        return self._post(files={"image": ("a.jpg", data)})

    def _post(self, **request: Any) -> Response:
        start = time.perf_counter()
        response = self._client.post(PATH, **request)
        seconds, body = time.perf_counter() - start, response.json()
        return Response(response.status_code, body.get("code", "accepted"), body.get("detail", ""), seconds, body)
