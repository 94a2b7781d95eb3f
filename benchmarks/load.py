"""Load: the same request over and over, on connections that are kept; raw, so that the client costs little."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from statistics import quantiles

from benchmarks.running import Running

BOUNDARY = "benchmark"


@dataclass(frozen=True)
class Request:
    """A POST, written out."""

    path: str
    body: bytes
    content_type: str = "application/json"
    accept: str = "application/json"

    def written(self) -> bytes:
        """The bytes of the request."""
        head = (
            f"POST {self.path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: {self.accept}\r\nauthorization: Bearer b\r\n"
            f"content-type: {self.content_type}\r\ncontent-length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() + self.body


def posted(path: str, fields: Mapping[str, object], accept: str = "application/json") -> Request:
    """A POST of JSON."""
    return Request(path, json.dumps(fields, separators=(",", ":")).encode(), accept=accept)


def uploaded(path: str, image: bytes, **fields: str) -> Request:
    """A POST of a form with the image as a file."""
    parts = [
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    file = f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    body = "".join([*parts, file]).encode() + image + f"\r\n--{BOUNDARY}--\r\n".encode()
    return Request(path, body, f"multipart/form-data; boundary={BOUNDARY}")


@dataclass(frozen=True)
class Load:
    """What came of it: the latency of every request and the time of the whole, in seconds."""

    latencies: list[float]
    elapsed: float

    def __add__(self, other: "Load") -> "Load":
        return Load(self.latencies + other.latencies, self.elapsed + other.elapsed)

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.elapsed

    def percentile(self, percent: int) -> float:
        """A latency in milliseconds."""
        if len(self.latencies) < 2:
            return self.latencies[0] * 1000
        return quantiles(self.latencies, n=100, method="inclusive")[percent - 1] * 1000


async def load(
    server: Running, request: Request, connections: int, seconds: float, at_most: int, others: Sequence[Request] = ()
) -> Load:
    """Ask on so many connections at once, for so long or so often; `others` take turns with the request.

    Raises RuntimeError for any status but 200.
    """
    messages, left, latencies = cycle([one.written() for one in (request, *others)]), at_most, list[float]()
    start = time.perf_counter()

    async def ask() -> None:
        nonlocal left
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=2**20)
        while left > 0 and time.perf_counter() - start < seconds:
            left -= 1
            begun = time.perf_counter()
            writer.write(next(messages))
            await answer(reader)
            latencies.append(time.perf_counter() - begun)
        writer.close()

    await asyncio.gather(*(ask() for _ in range(connections)))
    return Load(latencies, time.perf_counter() - start)


async def once(server: Running, request: Request) -> tuple[float, bytes]:
    """Ask once on a connection of its own: the seconds, and the answer's body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=2**20)
    begun = time.perf_counter()
    writer.write(request.written())
    body = await answer(reader)
    took = time.perf_counter() - begun
    writer.close()
    return took, body


async def answer(reader: asyncio.StreamReader) -> bytes:
    """The body of an answer with status 200."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    body = await reader.readexactly(int(head.partition("content-length:")[2].split("\r\n")[0]))
    if not head.startswith("http/1.1 200"):
        raise RuntimeError(f"{head.splitlines()[0]}: {body[:500].decode(errors='replace')}")
    return body


async def fetch(server: Running, path: str) -> bytes:
    """GET."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=2**20)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
    body = await answer(reader)
    writer.close()
    return body
