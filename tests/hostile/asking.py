"""Images sent to a real service, several at once, on connections that are kept."""

import json
import time
from base64 import b64encode
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from threading import local
from typing import Any, Self
from urllib.parse import urlsplit

PATH = "/api/v1/perspectives/alt_text/caption"
HANG_GUARD = 60.0
AT_ONCE = 4
_IDLE = 2.0
_BOUNDARY = "----hostile"


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

    def __init__(self, url: str, at_once: int = AT_ONCE) -> None:
        self._address = urlsplit(url).netloc
        self._connections: list[HTTPConnection] = []
        self._own = local()
        self._threads = ThreadPoolExecutor(at_once)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()
        for connection in self._connections:
            connection.close()

    def ask_both(self, images: Iterable[bytes]) -> list[tuple[Answer, Answer]]:
        """Each image as base64 and as an upload."""
        return list(self._threads.map(lambda data: (self.base64(data), self.upload(data)), images))

    def ask(self, images: Iterable[dict[str, str]]) -> list[Answer]:
        """Each `image` of a JSON request."""
        return list(self._threads.map(self.image, images))

    def base64(self, data: bytes) -> Answer:
        return self.image({"base64": b64encode(data).decode()})

    def image(self, image: dict[str, str]) -> Answer:
        return self.post(json.dumps({"image": image}).encode(), "application/json")

    def upload(self, data: bytes) -> Answer:
        head = f'--{_BOUNDARY}\r\ncontent-disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
        body = head.encode() + data + f"\r\n--{_BOUNDARY}--\r\n".encode()
        return self.post(body, f"multipart/form-data; boundary={_BOUNDARY}")

    def post(self, body: bytes, content_type: str) -> Answer:
        connection = self._connection()
        begun = time.perf_counter()
        connection.request("POST", PATH, body, {"content-type": content_type})
        response = connection.getresponse()
        told = json.loads(response.read())
        seconds = time.perf_counter() - begun
        self._own.used = time.monotonic()
        if response.status == 200:
            return Answer(200, "accepted", "", seconds, told)
        return Answer(response.status, told["code"], told["detail"], seconds, told)

    def _connection(self) -> HTTPConnection:
        """This thread's, made anew where the service may have closed it: it waits five seconds for a next request."""
        if not hasattr(self._own, "connection"):
            self._own.connection = HTTPConnection(self._address, timeout=HANG_GUARD)
            self._connections.append(self._own.connection)
        connection: HTTPConnection = self._own.connection
        if time.monotonic() - getattr(self._own, "used", 0.0) > _IDLE:
            connection.close()
        return connection
