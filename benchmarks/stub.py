"""A stub of model servers that speaks the protocols of OpenAI, Ollama and Gemini, plain and streamed, at low cost.

It fills any schema with the same text after a fixed delay. `GET /statistics` returns the number of calls.
`python -m benchmarks.stub --delay SECONDS`
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import uvloop
from pydantic_core import from_json, to_json

from benchmarks.running import MODEL

JsonObject = dict[str, Any]
PIECES = 8
TEXT = "A white cup of coffee on a dark wooden table, seen from above"
_USAGE = (300, 120)


@dataclass
class Statistics:
    """The state that all connections share: the calls, and the answers by schema.

    `cancelled` holds the monotonic time of each disconnect during a call.
    """

    delay: float
    calls: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    cancelled: list[float] = field(default_factory=list)
    answers: dict[bytes, str] = field(default_factory=dict)

    def answer(self, schema: JsonObject | None) -> str:
        """Return the answer for a schema."""
        key = to_json(schema)
        if key not in self.answers:
            value = TEXT if schema is None else fill(schema, schema)
            self.answers[key] = value if isinstance(value, str) else to_json(value).decode()
        return self.answers[key]

    def json(self) -> bytes:
        """Return the figures as JSON."""
        return to_json({name: getattr(self, name) for name in ("calls", "in_flight", "max_in_flight", "cancelled")})


def fill(schema: JsonObject, root: JsonObject) -> Any:
    """Return a value that fits the schema of a shipped perspective, in any dialect."""
    if reference := schema.get("$ref"):
        node = root
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]
        return fill(node, root)
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    if options := schema.get("anyOf"):
        return fill(options[0], root)
    kind = schema.get("type", "string")
    match kind if isinstance(kind, str) else kind[0]:
        case "object":
            return {name: fill(node, root) for name, node in schema.get("properties", {}).items()}
        case "array":
            return [fill(schema["items"], root) for _ in range(schema.get("minItems", 2))]
        case "string":
            return TEXT[: schema.get("maxLength")].strip().ljust(schema.get("minLength", 0), ".")
        case "boolean":
            return False
        case "null":
            return None
    return schema.get("minimum", 0)


@dataclass(frozen=True)
class Protocol:
    """One protocol: where a request contains the schema, and how an answer is written, plain and streamed."""

    media_type: str
    schema: Callable[[JsonObject], JsonObject | None]
    body: Callable[[str], JsonObject]
    events: Callable[[list[str]], Iterable[bytes]]


def _openai(choice: JsonObject, **more: Any) -> JsonObject:
    return {"id": "c", "object": "chat.completion", "created": 0, "model": MODEL, "choices": [choice], **more}


def _openai_body(text: str) -> JsonObject:
    message = {"role": "assistant", "content": text}
    return _openai({"index": 0, "message": message, "finish_reason": "stop"}, usage=_openai_usage())


def _openai_events(pieces: list[str]) -> Iterable[bytes]:
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


def _ollama_events(pieces: list[str]) -> Iterable[bytes]:
    for piece in pieces:
        yield to_json(_ollama(piece, done=False)) + b"\n"
    yield to_json(_ollama("", done=True)) + b"\n"


def _gemini(text: str, done: bool) -> JsonObject:
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    usage = {"promptTokenCount": _USAGE[0], "candidatesTokenCount": _USAGE[1]}
    return {"candidates": [{**candidate, **({"finishReason": "STOP"} if done else {})}], "usageMetadata": usage}


def _gemini_events(pieces: list[str]) -> Iterable[bytes]:
    for piece in pieces[:-1]:
        yield _event(_gemini(piece, done=False))
    yield _event(_gemini(pieces[-1], done=True))


def _event(value: JsonObject) -> bytes:
    return b"data: " + to_json(value) + b"\n\n"


OPENAI = Protocol(
    "text/event-stream",
    lambda request: request.get("response_format", {}).get("json_schema", {}).get("schema"),
    _openai_body,
    _openai_events,
)
OLLAMA = Protocol(
    "application/x-ndjson",
    lambda request: request["format"] if isinstance(request.get("format"), dict) else None,
    lambda text: _ollama(text, done=True),
    _ollama_events,
)
GEMINI = Protocol(
    "text/event-stream",
    lambda request: request.get("generationConfig", {}).get("responseJsonSchema"),
    lambda text: _gemini(text, done=True),
    _gemini_events,
)


class Connection(asyncio.Protocol):
    """One connection. Each request is answered by a task."""

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics
        self._received = bytearray()
        self._needed = 0
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's class does not inherit from it

    def data_received(self, data: bytes) -> None:
        """Collect the data, and answer when the request is complete."""
        self._received += data
        if len(self._received) < self._needed:
            return
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        headers = bytes(self._received[:end]).decode("latin-1")
        self._needed = end + 4 + _length(headers)
        if len(self._received) >= self._needed:
            body = bytes(self._received[end + 4 : self._needed])
            self._received.clear()
            self._needed = 0
            self._task = asyncio.create_task(self._serve(headers, body))

    def connection_lost(self, error: Exception | None) -> None:
        """Record a disconnect during a call."""
        if self._task is not None and not self._task.done():
            self._statistics.cancelled.append(time.monotonic())
            self._task.cancel()

    async def _serve(self, headers: str, body: bytes) -> None:
        method, target, *_ = headers.split(" ", 2)
        if method == "GET":
            self._send(self._statistics.json() if target == "/statistics" else _models(target))
            return
        self._statistics.calls += 1
        self._statistics.in_flight += 1
        self._statistics.max_in_flight = max(self._statistics.max_in_flight, self._statistics.in_flight)
        try:
            await self._call(target, from_json(body))
        finally:
            self._statistics.in_flight -= 1

    async def _call(self, target: str, request: JsonObject) -> None:
        protocol = OLLAMA if target.startswith("/api/") else GEMINI if "enerateContent" in target else OPENAI
        text = self._statistics.answer(protocol.schema(request))
        if request.get("stream") or "streamGenerateContent" in target:
            await self._stream(protocol, _cut(text))
        else:
            await asyncio.sleep(self._statistics.delay)
            self._send(to_json(protocol.body(text)))

    def _send(self, body: bytes) -> None:
        headers = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self._transport.write(headers.encode() + body)

    async def _stream(self, protocol: Protocol, pieces: list[str]) -> None:
        """Send the pieces, spread over the delay."""
        headers = f"HTTP/1.1 200 OK\r\ncontent-type: {protocol.media_type}\r\ntransfer-encoding: chunked\r\n\r\n"
        self._transport.write(headers.encode())
        async for piece in self._paced(protocol.events(pieces)):
            self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self._transport.write(b"0\r\n\r\n")

    async def _paced(self, pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
        for at, piece in enumerate(pieces):
            if at < PIECES:
                await asyncio.sleep(self._statistics.delay / PIECES)
            yield piece


def _length(headers: str) -> int:
    for line in headers.split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            return int(value)
    return 0


def _cut(text: str) -> list[str]:
    size = -(-len(text) // PIECES)
    return [text[start : start + size] for start in range(0, len(text), size)]


def _models(target: str) -> bytes:
    if target.startswith("/api/"):
        return to_json({"models": [{"model": MODEL, "name": MODEL}], "version": "0"})
    return to_json({"object": "list", "data": [{"id": MODEL, "object": "model"}]})


async def serve(delay: float, port: int) -> None:
    """Serve on a port (0: a free one) until the process ends."""
    statistics, loop = Statistics(delay), asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(statistics), "127.0.0.1", port, backlog=2048)
    print(f"stub provider: http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    """Run the stub provider."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stub", description=__doc__)
    parser.add_argument("--delay", type=float, default=0.0, help="duration of each call in seconds")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free port)")
    options = parser.parse_args()
    uvloop.run(serve(options.delay, options.port))


if __name__ == "__main__":
    main()
