"""A scripted model server on loopback. Subclasses implement the parsing and writing of one protocol."""

import asyncio
import json
import re
import ssl
import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from tests.guard import GUARD
from tests.servers import behaviours as b
from tests.servers.call import Call, RefusedError
from tests.servers.connection import Connection, Request
from tests.servers.instances import instance, schema_in
from tests.servers.listener import Listener
from tests.servers.reply import MARK, Reply, compressed, grown, json_reply, marked, reorder_events

SENTENCE = "A picture of a harbour at dusk."
MODES = frozenset({"json_schema", "json_object", "text"})


class WireServer(Listener):
    """Answer every call with the next scripted behaviour, or with `default` when the script is empty.

    The server runs inside its `with` block. `key`: required in every request; "" accepts requests without a key.
    `models`: the names that it serves. `modes`: the supported output modes; others get a 400. `calls`: the POST
    requests received, including rejected ones. `requests`: every request, unparsed. `closed`: set when a client has
    disconnected before the end of its response; `hang_ups`: the number of these disconnects.
    """

    base_path = ""

    def __init__(
        self,
        *,
        key: str = "",
        models: tuple[str, ...] = ("tiny-vision",),
        modes: frozenset[str] = MODES,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(tls)
        self.key = key
        self.models = models
        self.modes = modes
        self.default: b.Behaviour = b.Answer()
        self.script: deque[b.Behaviour] = deque()
        self.listing_script: deque[b.Behaviour] = deque()
        self.calls: list[Call] = []
        self.requests: list[Request] = []
        self.closed = threading.Event()
        self.hang_ups = 0
        self._connections: list[Connection] = []
        self._arrived = threading.Condition()
        self._released = asyncio.Event()

    @property
    def url(self) -> str:
        """Return the base URL as users of this protocol write it."""
        return self.origin + self.base_path

    @property
    def bytes_sent(self) -> int:
        """Return the number of bytes sent on all connections."""
        return sum(connection.sent for connection in self._connections)

    @property
    def call(self) -> Call:
        """Return the only call received; fail if there were none or several."""
        assert len(self.calls) == 1, f"{len(self.calls)} calls came"
        return self.calls[0]

    def reply(self, *behaviours: b.Behaviour) -> None:
        """Queue behaviours for the next calls, one per call."""
        self.script.extend(behaviours)

    def reply_to_listing(self, *behaviours: b.Behaviour) -> None:
        """Queue behaviours for the next requests for the list of models."""
        self.listing_script.extend(behaviours)

    def release(self) -> None:
        """Answer the calls that `Hold` delays."""
        self.call_soon(self._released)

    def wait_for_calls(self, count: int, timeout: float = GUARD) -> None:
        """Block until `count` calls were received. Call it from async code in a thread."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.calls) >= count, timeout), f"{len(self.calls)} calls came"

    def wait_for_hang_ups(self, count: int = 1, timeout: float = GUARD) -> None:
        """Block until `count` clients disconnected before their response ended. Call it from async code in a thread."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: self.hang_ups >= count, timeout), f"{self.hang_ups} hung up"

    # Implemented by each protocol.

    @abstractmethod
    def read(self, call: Call) -> Reply | None:
        """Parse a call into its fields. Return a Reply to send, or None to use the script."""

    @abstractmethod
    def error(self, refused: RefusedError, call: Call | None = None) -> Reply:
        """Return an error in the format of the protocol; `refused.facts` contain the details."""

    @abstractmethod
    def answer(self, call: Call, text: str, answer: b.Answer) -> Reply:
        """Return a complete answer, streamed if the call requests a stream."""

    @abstractmethod
    def special(self, call: Call, behaviour: b.Behaviour) -> Reply:
        """Return the response of a behaviour that differs between protocols, such as a refusal or a truncation."""

    # Shared by all protocols.

    def default_text(self, call: Call) -> str:
        schema = call.schema if isinstance(call.schema, dict) else schema_in(call.texts)
        return SENTENCE if schema is None else json.dumps(instance(schema))

    def text_of(self, call: Call, content: Any) -> str:
        if content is None:
            return self.default_text(call)
        return content if isinstance(content, str) else json.dumps(content)

    def render(self, call: Call, behaviour: b.Behaviour) -> Reply:
        """Return the HTTP response of a behaviour."""
        match behaviour:
            case b.Answer():
                return self.answer(call, self.text_of(call, behaviour.content), behaviour)
            case b.Status(body=bytes(body)):
                return Reply([body], behaviour.code, "text/html", behaviour.headers)
            case b.Status(code, headers, _, retry_after, message):
                return self.error(RefusedError(code, message, retry_after=retry_after, headers=headers), call)
            case b.Echo():
                parts = {"headers": call.headers, "prompt": call.prompt, "body": call.raw.decode()}
                return self.error(RefusedError(behaviour.code, f"cannot serve {parts[behaviour.part]}"), call)
            case b.RejectSchema():
                return self.error(RefusedError(400, "The schema is not supported.", schema=True), call)
            case b.TooLong():
                return self.error(RefusedError(400, "", too_long=True), call)
            case b.NoCredit():
                return self.error(RefusedError(429, "", no_credit=True), call)
            case b.InvalidUtf8(raw=raw):
                return marked(self.say(call, f"caf{MARK}"), raw)
            case b.Huge():
                return grown(self.say(call, MARK), behaviour.bytes)
            case b.Compressed():
                return compressed(self.say(call, MARK), behaviour.bytes)
            case b.Events(how=how):
                return reorder_events(self.render(call, behaviour.of), how)
            case b.Redirect():
                return json_reply({}, 307, {"location": behaviour.url})
            case b.NotJson():
                return Reply([behaviour.html.encode()], content_type="text/html")
            case b.Raw():
                return Reply([behaviour.body], content_type=behaviour.content_type)
            case _:
                return self.special(call, behaviour)

    def say(self, call: Call, text: str) -> Reply:
        return self.answer(call, text, b.Answer(text, pieces=1 if MARK in text else 5))

    def check_mode(self, call: Call) -> None:
        if call.mode not in self.modes:
            raise RefusedError(400, f"This server does not support the output format {call.mode}.", schema=True)

    async def serve(self, connection: Connection, request: Request) -> None:
        """Parse a request, record it and answer it."""
        self.requests.append(request)
        call = Call(request.method, request.target, request.headers, request.body)
        try:
            reply = self.read(call)
        except RefusedError as refused:
            reply = self.error(refused, call)
            self._record(call, request)
        else:
            if reply is None:
                behaviour = self.script.popleft() if self.script else self.default
                self._record(call, request)
                return await self._act(connection, call, behaviour)
            if self.listing_script:
                return await self._act(connection, call, self.listing_script.popleft())
        return await connection.send(reply)

    def _record(self, call: Call, request: Request) -> None:
        if request.method == "POST":
            with self._arrived:
                self.calls.append(call)
                self._arrived.notify_all()

    async def _act(self, connection: Connection, call: Call, behaviour: b.Behaviour) -> None:
        match behaviour:
            case b.Hold():
                await self._released.wait()
                await self._act(connection, call, behaviour.then)
            case b.Hang():
                await self._hang(connection, call, behaviour)
            case b.Reset():
                connection.reset()
            case b.Cut():
                await self._cut(connection, self.render(call, behaviour.of), behaviour.after_bytes)
            case b.Drip():
                await self._drip(connection, self.render(call, behaviour.of), behaviour)
            case _:
                await connection.send(self.render(call, behaviour))

    async def _hang(self, connection: Connection, call: Call, behaviour: b.Hang) -> None:
        reply = self.render(call, behaviour.of)
        if behaviour.after != "connect":
            await connection.head(reply, None if reply.streamed else len(reply.body))
        if behaviour.after == "first":
            for chunk in take_until_text(reply.chunks) if reply.streamed else [b" "]:
                await connection.data(chunk)
        await asyncio.Event().wait()

    async def _cut(self, connection: Connection, reply: Reply, after: int | None) -> None:
        body = reply.body
        await connection.head(reply, None if reply.streamed else len(body))
        await connection.data(body[: len(body) // 2 if after is None else after])
        await connection.cut()

    async def _drip(self, connection: Connection, reply: Reply, drip: b.Drip) -> None:
        body = reply.body
        await connection.head(reply, None if reply.streamed else len(body))
        for at in range(0, len(body), drip.size):
            await connection.data(body[at : at + drip.size])
            await asyncio.sleep(drip.interval)
        await connection.end()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        self._connections.append(connection)
        await connection.run(lambda request: self.serve(connection, request), self._hung_up)

    def _hung_up(self) -> None:
        with self._arrived:
            self.hang_ups += 1
            self.closed.set()
            self._arrived.notify_all()


def take_until_text(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the chunks of a stream up to the first that contains text."""
    for chunk in chunks:
        yield chunk
        if re.search(rb'"(content|text)": "[^"]', chunk):
            return
