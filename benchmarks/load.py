"""Send the same requests again and again over kept connections. Raw sockets keep the client cheap."""

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

from benchmarks.running import MODEL, Running

CAPTION = "/perspectives/caption"
PERSPECTIVE = "alt_text"
_BOUNDARY = "benchmark"


@dataclass(frozen=True)
class Request:
    """A POST request."""

    path: str
    body: bytes
    content_type: str = "application/json"
    accept: str = "application/json"

    def written(self) -> bytes:
        """Return the bytes of the request."""
        headers = (
            f"POST {self.path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: {self.accept}\r\nauthorization: Bearer b\r\n"
            f"content-type: {self.content_type}\r\ncontent-length: {len(self.body)}\r\n\r\n"
        )
        return headers.encode() + self.body


def posted(path: str, fields: Mapping[str, object], accept: str = "application/json") -> Request:
    """Return a POST of JSON."""
    return Request(path, json.dumps(fields, separators=(",", ":")).encode(), accept=accept)


def in_base64(image: bytes, perspective: str = PERSPECTIVE, **fields: str) -> Request:
    """Return a caption request with the image in base64."""
    return posted(CAPTION, {"image": {"base64": b64encode(image).decode()}, "perspective": perspective, **fields})


def uploaded(image: bytes) -> Request:
    """Return a caption request with the image as a file of a form."""
    part = f"--{_BOUNDARY}\r\ncontent-disposition: form-data; name="
    field = f'{part}"perspective"\r\n\r\n{PERSPECTIVE}\r\n'
    file = f'{part}"image"; filename="a.jpg"\r\n\r\n'
    body = f"{field}{file}".encode() + image + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return Request(CAPTION, body, f"multipart/form-data; boundary={_BOUNDARY}")


def to_provider(image: bytes) -> Request:
    """Return a request to the stub provider itself."""
    part = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{b64encode(image).decode()}"}}
    return posted("/v1/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": [part]}]})


@dataclass(frozen=True)
class Load:
    """The result: the latency of every request and the elapsed time, in seconds."""

    latencies: list[float]
    elapsed: float

    def __add__(self, other: "Load") -> "Load":
        return Load(self.latencies + other.latencies, self.elapsed + other.elapsed)

    @property
    def rate(self) -> float:
        """Return the requests per second."""
        return len(self.latencies) / self.elapsed


async def load(
    server: Running,
    request: Request,
    connections: int,
    seconds: float,
    max_requests: int,
    others: Sequence[Request] = (),
) -> Load:
    """Send requests over concurrent connections, up to a time or a number. `others` alternate with `request`.

    Raises RuntimeError for any status but 200.
    """
    messages, left, latencies = cycle([item.written() for item in (request, *others)]), max_requests, list[float]()
    start = time.perf_counter()

    async def send() -> None:
        nonlocal left
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=2**20)
        while left > 0 and time.perf_counter() - start < seconds:
            left -= 1
            sent = time.perf_counter()
            writer.write(next(messages))
            await answer(reader)
            latencies.append(time.perf_counter() - sent)
        writer.close()

    await asyncio.gather(*(send() for _ in range(connections)))
    return Load(latencies, time.perf_counter() - start)


async def once(server: Running, request: Request) -> tuple[float, bytes]:
    """Send one request over a new connection. Return the seconds it took and the response body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=2**20)
    begun = time.perf_counter()
    writer.write(request.written())
    body = await answer(reader)
    took = time.perf_counter() - begun
    writer.close()
    return took, body


async def read_response(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """Read a response. Return its headers in lower case, and its body."""
    headers = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    return headers, await reader.readexactly(int(headers.partition("content-length:")[2].split("\r\n")[0]))


async def answer(reader: asyncio.StreamReader) -> bytes:
    """Read a response and return its body. Raises RuntimeError for any status but 200."""
    headers, body = await read_response(reader)
    if not headers.startswith("http/1.1 200"):
        raise RuntimeError(f"{headers.splitlines()[0]}: {body[:500].decode(errors='replace')}")
    return body


async def fetch(server: Running, path: str) -> bytes:
    """Send a GET and return the response body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=2**20)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
    body = await answer(reader)
    writer.close()
    return body
