"""HTTP responses of the protocols, and the modifications that behaviours apply to their bytes."""

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

MARK = "PLACEHOLDER-FOR-SCRIPTED-BYTES"
BLOCK = 64 * 1024


@dataclass(frozen=True)
class Reply:
    """Send `chunks` as they are generated. `streamed`: chunked; otherwise with Content-Length."""

    chunks: Iterable[bytes]
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    streamed: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)


def json_reply(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply([json_bytes(content)], status, headers=headers or {})


def event_stream(events: Iterable[Any], *, done: bool = True, comment: str = "", newline: bytes = b"\n") -> Reply:
    """Return server-sent events, preceded by `comment`, which gateways send to keep a connection alive."""
    chunks = [b"data: " + json_bytes(event) + 2 * newline for event in events]
    head = [f": {comment}\n\n".encode()] if comment else []
    return Reply([*head, *chunks, *([b"data: [DONE]\n\n"] if done else [])], 200, "text/event-stream", streamed=True)


def lines(objects: Iterable[Any]) -> Reply:
    """Return one JSON object per line."""
    chunks = [json_bytes(value) + b"\n" for value in objects]
    return Reply(chunks, 200, "application/x-ndjson", streamed=True)


def json_bytes(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()


def marked(reply: Reply, replacement: bytes) -> Reply:
    """Return the response with MARK replaced by raw bytes."""
    return replace(reply, chunks=[chunk.replace(MARK.encode(), replacement) for chunk in reply.chunks])


def reorder_events(reply: Reply, how: str) -> Reply:
    """Modify the events of a stream as `behaviours.Events.how` says; return other responses unchanged."""
    if not reply.streamed:
        return reply
    events = list(reply.chunks)
    mark = [event for event in events if event.startswith(b"data: [DONE]")]
    rest = [event for event in events if event not in mark]
    blanks = [b"\n"] if reply.content_type == "application/x-ndjson" else [b": ping\n\n", b"event: ping\n\n", b"\n\n"]
    ways = {
        "without end mark": rest,
        "end mark twice": [*rest, *mark, *mark],
        "with blanks": [piece for event in events for piece in (*blanks, event)],
        "the last again": [*rest, rest[-1], *mark],
    }
    return replace(reply, chunks=ways[how])


def grown(reply: Reply, size: int) -> Reply:
    """Return the response with MARK replaced by `size` bytes of text, generated while they are sent."""
    return replace(reply, chunks=growing(list(reply.chunks), size), streamed=True)


def compressed(reply: Reply, size: int) -> Reply:
    """Return the response with MARK replaced by `size` bytes of text, compressed with gzip."""
    packer = zlib.compressobj(9, wbits=31)
    plain = growing(list(reply.chunks), size)
    packed = b"".join([*(packer.compress(chunk) for chunk in plain), packer.flush()])
    return replace(reply, chunks=[packed], headers={**reply.headers, "content-encoding": "gzip"})


def growing(chunks: list[bytes], size: int) -> Iterator[bytes]:
    filler = b"a" * BLOCK
    for chunk in chunks:
        head, mark, tail = chunk.partition(MARK.encode())
        if not mark:
            yield chunk
        else:
            yield head
            yield from (filler for _ in range(size // BLOCK))
            yield tail


def pieces(text: str, count: int) -> list[str]:
    """Split `text` into at most `count` pieces."""
    step = max(1, -(-len(text) // count))
    return [text[at : at + step] for at in range(0, len(text), step)] or [""]
