"""One HTTP reply as a protocol makes it, and what misbehaviour does to its bytes."""

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

MARK = "THE-SCRIPTED-BYTES-STAND-HERE"
BLOCK = 64 * 1024


@dataclass(frozen=True)
class Reply:
    """`chunks` are sent as they are made. `streamed`: chunked; otherwise Content-Length is told."""

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
    """Server-sent events; `comment` goes first, as gateways send it to keep a connection alive."""
    chunks = [b"data: " + json_bytes(event) + 2 * newline for event in events]
    head = [f": {comment}\n\n".encode()] if comment else []
    return Reply([*head, *chunks, *([b"data: [DONE]\n\n"] if done else [])], 200, "text/event-stream", streamed=True)


def lines(objects: Iterable[Any]) -> Reply:
    """One JSON object a line."""
    chunks = [json_bytes(one) + b"\n" for one in objects]
    return Reply(chunks, 200, "application/x-ndjson", streamed=True)


def json_bytes(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()


def marked(reply: Reply, replacement: bytes) -> Reply:
    """The reply with the mark in its text replaced by raw bytes."""
    return replace(reply, chunks=[chunk.replace(MARK.encode(), replacement) for chunk in reply.chunks])


def disordered(reply: Reply, how: str) -> Reply:
    """The events of a stream, told in one of the ways of `behaviours.Events`; a whole reply as it is."""
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
    """The reply with `size` bytes of text where the mark stands, made while they are sent."""
    return replace(reply, chunks=growing(list(reply.chunks), size), streamed=True)


def compressed(reply: Reply, size: int) -> Reply:
    """The reply with `size` bytes of text where the mark stands, as gzip."""
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
    """`text` in at most `count` pieces, in order."""
    step = max(1, -(-len(text) // count))
    return [text[at : at + step] for at in range(0, len(text), step)] or [""]
