"""Images sent to a real service, several at once, on connections that are kept."""

import time
from base64 import b64encode
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import httpx

PATH = "/api/v1/perspectives/alt_text/caption"
HANG_GUARD = 60.0


@dataclass(frozen=True)
class Answer:
    """The status, the problem's code or "accepted", its sentence, the seconds it took, and the whole body."""

    status: int
    code: str
    detail: str
    seconds: float
    body: dict[str, Any]


class Asker:
    """A few clients of one service."""

    def __init__(self, url: str, at_once: int = 4) -> None:
        limits = httpx.Limits(keepalive_expiry=2)
        self._client = httpx.Client(base_url=url, timeout=HANG_GUARD, trust_env=False, limits=limits)
        self._threads = ThreadPoolExecutor(at_once)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()
        self._client.close()

    def ask_both(self, images: Iterable[bytes]) -> list[tuple[Answer, Answer]]:
        """Each image as base64 and as an upload."""
        return list(self._threads.map(lambda data: (self.base64(data), self.upload(data)), images))

    def ask(self, images: Iterable[dict[str, str]]) -> list[Answer]:
        """Each `image` of a JSON request."""
        return list(self._threads.map(lambda image: self._post(json={"image": image}), images))

    def base64(self, data: bytes) -> Answer:
        return self._post(json={"image": {"base64": b64encode(data).decode()}})

    def upload(self, data: bytes) -> Answer:
        return self._post(files={"image": ("a.jpg", data)})

    def _post(self, **request: Any) -> Answer:
        begun = time.perf_counter()
        response = self._client.post(PATH, **request)
        seconds, body = time.perf_counter() - begun, response.json()
        return Answer(response.status_code, body.get("code", "accepted"), body.get("detail", ""), seconds, body)
