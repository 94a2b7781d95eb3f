"""A model server's place held: OpenAI's, Ollama's and Gemini's protocol, plain and streamed, as fast as can be.

It answers any schema with what `builtin` writes for a sample photo, after a set time. `GET /seen` tells of the calls.
`python -m benchmarks.standin --delay SECONDS`
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import uvloop
from pydantic_core import from_json, to_json

from benchmarks.running import MODEL, WORKSPACE
from providers.base import Image, PixelStatistics, ProviderConfig, VisionRequest
from providers.builtin import BuiltinClient

JsonObject = dict[str, Any]
PIECES = 8
_USAGE = (300, 120)


@dataclass
class Desk:
    """What all connections share: the answers by schema, and the count of calls.

    `at_once` is the most that were in flight together; `left` holds the monotonic time at which a caller hung up on
    each call that was not answered yet.
    """

    delay: float
    image: Image
    calls: int = 0
    in_flight: int = 0
    at_once: int = 0
    left: list[float] = field(default_factory=list)
    answers: dict[bytes, str] = field(default_factory=dict)
    writer: BuiltinClient = field(default_factory=lambda: BuiltinClient(ProviderConfig("builtin", "builtin")))

    async def answer(self, schema: JsonObject | None) -> str:
        """The answer for a schema, written once."""
        key = to_json(schema)
        if key not in self.answers:
            written = await self.writer.complete(VisionRequest(MODEL, "", 60, self.image, schema=schema))
            self.answers[key] = written.text
        return self.answers[key]

    def seen(self) -> bytes:
        """The calls so far, as JSON."""
        told = {"calls": self.calls, "in_flight": self.in_flight, "at_once": self.at_once, "left": self.left}
        return to_json(told)


@dataclass(frozen=True)
class Speech:
    """One protocol: where its request holds the schema, how it writes an answer whole and in pieces."""

    media_type: str
    schema: Callable[[JsonObject], JsonObject | None]
    whole: Callable[[str], JsonObject]
    pieces: Callable[[list[str]], Iterable[bytes]]


def _openai(choice: JsonObject, **more: Any) -> JsonObject:
    return {"id": "c", "object": "chat.completion", "created": 0, "model": MODEL, "choices": [choice], **more}


def _openai_whole(text: str) -> JsonObject:
    message = {"role": "assistant", "content": text}
    return _openai({"index": 0, "message": message, "finish_reason": "stop"}, usage=_openai_usage())


def _openai_pieces(pieces: list[str]) -> Iterable[bytes]:
    for piece in pieces:
        yield _event(_openai({"index": 0, "delta": {"content": piece}, "finish_reason": None}))
    end = _openai({"index": 0, "delta": {}, "finish_reason": "stop"}, usage=_openai_usage())
    yield _event(end) + b"data: [DONE]\n\n"


def _openai_usage() -> JsonObject:
    return {"prompt_tokens": _USAGE[0], "completion_tokens": _USAGE[1], "total_tokens": sum(_USAGE)}


def _ollama(text: str, done: bool) -> JsonObject:
    message = {"role": "assistant", "content": text}
    end = {"done_reason": "stop", "prompt_eval_count": _USAGE[0], "eval_count": _USAGE[1]} if done else {}
    return {"model": MODEL, "created_at": "2026-01-01T00:00:00Z", "message": message, "done": done, **end}


def _ollama_pieces(pieces: list[str]) -> Iterable[bytes]:
    for piece in pieces:
        yield to_json(_ollama(piece, done=False)) + b"\n"
    yield to_json(_ollama("", done=True)) + b"\n"


def _gemini(text: str, done: bool) -> JsonObject:
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    usage = {"promptTokenCount": _USAGE[0], "candidatesTokenCount": _USAGE[1]}
    return {"candidates": [{**candidate, **({"finishReason": "STOP"} if done else {})}], "usageMetadata": usage}


def _gemini_pieces(pieces: list[str]) -> Iterable[bytes]:
    for piece in pieces[:-1]:
        yield _event(_gemini(piece, done=False))
    yield _event(_gemini(pieces[-1], done=True))


def _event(value: JsonObject) -> bytes:
    return b"data: " + to_json(value) + b"\n\n"


OPENAI = Speech(
    "text/event-stream",
    lambda asked: asked.get("response_format", {}).get("json_schema", {}).get("schema"),
    _openai_whole,
    _openai_pieces,
)
OLLAMA = Speech(
    "application/x-ndjson",
    lambda asked: asked["format"] if isinstance(asked.get("format"), dict) else None,
    lambda text: _ollama(text, done=True),
    _ollama_pieces,
)
GEMINI = Speech(
    "text/event-stream",
    lambda asked: asked.get("generationConfig", {}).get("responseJsonSchema"),
    lambda text: _gemini(text, done=True),
    _gemini_pieces,
)


class Connection(asyncio.Protocol):
    """One connection: requests in, one after the other, each answered by a task of its own."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._received = bytearray()
        self._needed = 0
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        """Take what came; serve once the request is whole."""
        self._received += data
        if len(self._received) < self._needed:
            return
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._received[:end]).decode("latin-1")
        self._needed = end + 4 + _length(head)
        if len(self._received) >= self._needed:
            body = bytes(self._received[end + 4 : self._needed])
            self._received.clear()
            self._needed = 0
            self._task = asyncio.create_task(self._serve(head, body))

    def connection_lost(self, error: Exception | None) -> None:
        """A caller who hung up on its call is noted."""
        if self._task is not None and not self._task.done():
            self._desk.left.append(time.monotonic())
            self._task.cancel()

    async def _serve(self, head: str, body: bytes) -> None:
        method, target, *_ = head.split(" ", 2)
        if method == "GET":
            self._send(self._desk.seen() if target == "/seen" else _listing(target))
            return
        self._desk.calls += 1
        self._desk.in_flight += 1
        self._desk.at_once = max(self._desk.at_once, self._desk.in_flight)
        try:
            await self._call(target, from_json(body))
        finally:
            self._desk.in_flight -= 1

    async def _call(self, target: str, asked: JsonObject) -> None:
        speech = OLLAMA if target.startswith("/api/") else GEMINI if "enerateContent" in target else OPENAI
        text = await self._desk.answer(speech.schema(asked))
        if asked.get("stream") or "streamGenerateContent" in target:
            await self._stream(speech, _cut(text))
        else:
            await asyncio.sleep(self._desk.delay)
            self._send(to_json(speech.whole(text)))

    def _send(self, body: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)

    async def _stream(self, speech: Speech, pieces: list[str]) -> None:
        """The pieces, spread over the time that the call takes."""
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {speech.media_type}\r\ntransfer-encoding: chunked\r\n\r\n"
        self._transport.write(head.encode())
        async for piece in self._paced(speech.pieces(pieces)):
            self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self._transport.write(b"0\r\n\r\n")

    async def _paced(self, pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
        for at, piece in enumerate(pieces):
            if at < PIECES:
                await asyncio.sleep(self._desk.delay / PIECES)
            yield piece


def _length(head: str) -> int:
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            return int(value)
    return 0


def _cut(text: str) -> list[str]:
    size = -(-len(text) // PIECES)
    return [text[start : start + size] for start in range(0, len(text), size)]


def _listing(target: str) -> bytes:
    if target.startswith("/api/"):
        return to_json({"models": [{"model": MODEL, "name": MODEL}], "version": "0"})
    return to_json({"object": "list", "data": [{"id": MODEL, "object": "model"}]})


async def serve(delay: float, port: int) -> None:
    """Serve on a port, 0 for a free one, until ended."""
    data = (WORKSPACE / "datasets" / "samples" / "coffee.jpg").read_bytes()
    statistics = PixelStatistics(600, 400, (("brown", 0.6), ("black", 0.3)), 0.4)
    desk = Desk(delay, Image(data, "image/jpeg", 600, 400, statistics))
    server = await asyncio.get_running_loop().create_server(lambda: Connection(desk), "127.0.0.1", port, backlog=2048)
    print(f"stand-in: http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    """Run the stand-in."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.standin", description=__doc__)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that each call takes")
    parser.add_argument("--port", type=int, default=0, help="where to listen (default: a free port)")
    options = parser.parse_args()
    uvloop.run(serve(options.delay, options.port))


if __name__ == "__main__":
    main()
