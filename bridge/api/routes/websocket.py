"""`WS /perspectives/stream`: many requests on one WebSocket, each with an id."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from bridge import errors
from bridge.api import responses
from bridge.api.connection import Writer, first_of, until
from bridge.api.drain import Drain
from bridge.api.middleware.auth import ApiKeys
from bridge.api.middleware.concurrency import ConcurrencyLimit
from bridge.api.middleware.rate_limit import RateLimiter
from bridge.api.middleware.request_context import DISCONNECTED, finish, record_of, services
from bridge.api.request_body import parse_object
from bridge.captioning import problems
from bridge.captioning.check import with_known_models
from bridge.captioning.models import EVENT, AnalyzeRequest, CaptionRequest, ErrorEvent, Event
from bridge.captioning.parsing import parse_request
from bridge.captioning.plan import AnalysisPlan, Plan, deadline_of, make_analysis_plan, make_plan
from bridge.captioning.stream import EventStream
from bridge.deadline import Deadline
from bridge.run import Run
from bridge.telemetry.logging import new_request_id, request_id
from bridge.telemetry.record import RequestRecord
from providers.base import JsonObject

router = APIRouter()
_AUTH_SECONDS = 10.0
_MAX_AUTH = 4096  # characters
_MAX_ID = 200  # characters
_FIRST_REQUEST_SECONDS = 1.0
_POLICY_VIOLATION, _RESTART, _TRY_LATER = 1008, 1012, 1013  # close codes, RFC 6455
_REQUESTS: dict[object, tuple[type[CaptionRequest | AnalyzeRequest], Callable[..., Awaitable[Plan | AnalysisPlan]]]] = {
    "caption": (CaptionRequest, make_plan),
    "analyze": (AnalyzeRequest, make_analysis_plan),
}


@router.websocket("/perspectives/stream")
async def stream(socket: WebSocket) -> None:
    """Serve one WebSocket until it is closed, then cancel its requests."""
    await Connection(socket).serve()


class Connection:
    """One WebSocket: receives frames, and runs each request in a separate task."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._services = services(socket)
        self._record = record_of(socket)
        self._running: dict[str, EventStream] = {}
        self._tasks = asyncio.TaskGroup()
        self._writer = Writer(socket.send)
        state = socket.scope["state"]
        self._in_flight: ConcurrencyLimit = state["in_flight"]
        self._drain: Drain = state["drain"]
        self._rates: RateLimiter = state["rates"]
        self._keys = ApiKeys(self._services.settings)
        self._handling = False
        self._idle = asyncio.Event()

    async def serve(self) -> None:
        """Receive frames until the WebSocket closes, its client stops reading, or the service shuts down."""
        self._in_flight.sockets += 1
        try:
            with self._drain.track():
                await self._socket.accept()
                # A client that connected just before a shutdown may send one request.
                asyncio.get_running_loop().call_later(_FIRST_REQUEST_SECONDS, self._note_idle)
                async with self._tasks:
                    await self._serve()
                await self._writer.send({"type": "websocket.close", "code": _RESTART})
        except errors.ShuttingDown as error:
            await responses.reject(error, self._socket.scope, self._socket.receive, self._socket.send)
        finally:
            self._in_flight.sockets -= 1

    async def _serve(self) -> None:
        """Receive frames, then cancel the requests. In a shutdown, the client receives their errors."""
        try:
            await until(self._finished(), self._receive_frames())
        except WebSocketDisconnect:
            self._writer.closed.set()
        except errors.Cancelled:
            pass
        except asyncio.CancelledError:
            if not self._drain.uncancel():
                raise
        finally:
            reason = None if self._writer.closed.is_set() else errors.ShuttingDown()
            for events in self._running.values():
                events.cancel(reason)

    async def _finished(self) -> None:
        """Wait until the client stops reading, or until a shutdown has begun and no request is running."""
        await first_of(self._writer.closed, self._drain.begun)
        await first_of(self._writer.closed, self._idle)

    def _note_idle(self) -> None:
        if not self._running and not self._handling:
            self._idle.set()

    async def _receive_frames(self) -> NoReturn:
        if self._in_flight.full or self._in_flight.sockets > self._in_flight.limit:
            await self._close(errors.ServerAtCapacity(), _TRY_LATER)
        if self._keys and self._keys.find_in(self._socket.headers) is None:
            await self._authenticate()
        while True:
            frame = await self._receive()
            self._handling = True
            self._idle.clear()
            try:
                await self._handle(frame)
            finally:
                self._handling = False
                self._note_idle()
            await asyncio.sleep(0)  # give other connections a turn

    async def _receive(self) -> str | bytes:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1006))
        return message.get("text") or message.get("bytes") or ""

    async def _authenticate(self) -> None:
        """Receive the first frame. Close the WebSocket unless this is an `auth` frame with a valid key."""
        try:
            async with asyncio.timeout(_AUTH_SECONDS):
                frame = await self._receive()
            fields = parse_object(frame, "The frame") if len(frame) <= _MAX_AUTH else {}
        except (TimeoutError, errors.InvalidJson):
            fields = {}
        name = self._key_name(fields) if fields.get("type") == "auth" else None
        if name is None:
            await self._reject_key()
        self._record.key = name

    def _key_name(self, fields: JsonObject) -> str | None:
        key = fields.get("api_key")
        return self._keys.find(key) if isinstance(key, str) else None

    async def _reject_key(self) -> NoReturn:
        """Close the WebSocket of a caller without a valid key. The attempt counts against the client's address."""
        try:
            await self._rates.count(self._record.caller)
        except errors.RateLimitExceeded as error:
            await self._close(error, _POLICY_VIOLATION)
        await self._close(errors.ApiKeyRequired(), _POLICY_VIOLATION)

    async def _handle(self, frame: str | bytes) -> None:
        """Handle one frame. If this fails, report the error and keep the WebSocket open."""
        name: str | None = None
        record = RequestRecord(new_request_id(), self._record.trace_headers, status=200)
        record.address, record.key = self._record.address, self._record.key
        request_id.set(record.id)
        try:
            fields = await self._parse(frame)
            kind, identity = fields.pop("type", None), fields.pop("id", None)
            if kind == "auth":
                if self._keys and self._key_name(fields) is None:
                    await self._reject_key()
                return
            name = identity if isinstance(identity, str) and 0 < len(identity) <= _MAX_ID else None
            if kind != "cancel":
                await self._rates.count(self._record.caller)
            if kind not in (*_REQUESTS, "cancel"):
                text = "The frame's 'type' must be caption, analyze or cancel."
                raise errors.InvalidRequest(text, (("/type", "unknown frame type"),))
            if name is None:
                text = f"The frame needs an 'id': a text of 1 to {_MAX_ID} characters."
                raise errors.InvalidRequest(text, (("/id", "is required"),))
            if kind == "cancel":
                self._cancel(name, fields)
            else:
                await self._begin(record, kind, name, fields)
        except WebSocketDisconnect:
            raise
        except Exception as error:  # noqa: BLE001 (one frame must not end the others)
            await self._reject(name, error, record)
            finish(record, self._socket.scope, "WS")

    async def _parse(self, frame: str | bytes) -> JsonObject:
        """Return a frame's fields. An invalid frame counts against the rate limit like a request."""
        limit = self._services.settings.body_limit
        try:
            if len(frame) > limit:
                raise errors.BodyTooLarge(limit)
            return parse_object(frame, "The frame")
        except (errors.BodyTooLarge, errors.InvalidJson, errors.InvalidRequest):
            await self._rates.count(self._record.caller)
            raise

    def _cancel(self, id: str, fields: JsonObject) -> None:
        if fields:
            raise errors.InvalidRequest("A cancel frame has only 'type' and 'id'.")
        if id not in self._running:
            raise errors.InvalidRequest(f"No request with the id '{id}' is running.", (("/id", "unknown"),))
        self._running[id].cancel()

    async def _begin(self, record: RequestRecord, kind: str, id: str, fields: JsonObject) -> None:
        """Plan a request and start it. Raises every error that can be detected before the work begins."""
        record.wants_caption = True
        if id in self._running:
            raise errors.InvalidRequest(f"A request with the id '{id}' is running.", (("/id", "in use"),))
        limit = self._services.settings.max_socket_requests
        if len(self._running) >= limit:
            raise errors.SocketAtCapacity(limit)
        if self._drain.begun.is_set() and self._record.requests:
            raise errors.ShuttingDown
        if self._in_flight.full:
            raise errors.ServerAtCapacity
        model, make = _REQUESTS[kind]
        request = parse_request(model, fields)
        run = record.start_run(deadline_of(request, self._services))
        events = EventStream(await make(request, self._services, run), self._services, run, id=id)
        self._in_flight.acquire()
        self._record.requests += 1
        self._running[id] = events
        task = self._tasks.create_task(self._send_events(id, events, run, record))
        task.add_done_callback(lambda _: self._ended(id, record))

    async def _send_events(self, id: str, events: EventStream, run: Run, record: RequestRecord) -> None:
        """Send the events of a request. If this fails, report the error to the client."""
        try:
            async with events:
                async for event in events:
                    if isinstance(event, ErrorEvent):
                        record.code, record.status = event.problem.code, event.problem.status
                    await self._send(event, run.deadline)
        except Exception as error:  # noqa: BLE001 (the task group would cancel the others)
            await self._reject(id, error, record)

    def _ended(self, id: str, record: RequestRecord) -> None:
        self._in_flight.release()
        del self._running[id]
        if self._writer.closed.is_set() and record.code == "cancelled":
            record.status = DISCONNECTED
        elif any(run.outcome == "ok" for run in record.runs):
            record.status = 200
        self._note_idle()
        finish(record, self._socket.scope, "WS")

    async def _close(self, error: Exception, code: int) -> NoReturn:
        """Send the error, and close the WebSocket."""
        await self._reject(None, error, self._record)
        await self._writer.send({"type": "websocket.close", "code": code})
        raise WebSocketDisconnect(code)

    async def _reject(self, id: str | None, error: Exception, record: RequestRecord) -> None:
        error = await with_known_models(error, self._services)
        problem = problems.report(error, record.id)
        record.code, record.status = problem.code, problem.status
        await self._send(ErrorEvent(id=id, perspective=None, problem=problem))

    async def _send(self, event: Event, deadline: Deadline | None = None) -> None:
        await self._writer.send({"type": "websocket.send", "text": EVENT.dump_json(event).decode()}, deadline)
