"""`WS /perspectives/stream`: many requests on one socket, by id."""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, WebSocket
from pydantic import BaseModel
from starlette.websockets import WebSocketDisconnect

from bridge import problems, telemetry
from bridge.api import events
from bridge.api.auth import Keys
from bridge.api.body import parse_object
from bridge.api.limits import InFlight
from bridge.captioning.analyze import plan_analysis
from bridge.captioning.errors import BodyTooLarge, Busy, InvalidRequest, TooManyRequests, Unauthorized
from bridge.captioning.events import Event
from bridge.captioning.parse import validate
from bridge.captioning.plan import plan, require_one_image
from bridge.captioning.resources import Resources
from bridge.captioning.stream import Stream
from bridge.captioning.types import AnalyzeRequest, CaptionRequest

log = logging.getLogger("graphcap")
router = APIRouter()
_MAX_ID = 200


@router.websocket("/perspectives/stream")
async def stream(socket: WebSocket) -> None:
    """Serve one socket until it is closed; what it asked for ends with it."""
    await socket.accept()
    conversation = Conversation(socket, socket.app.state.resources)
    try:
        await conversation.open()
        await conversation.listen()
    except WebSocketDisconnect:
        pass
    finally:
        await conversation.end()
        log.info("socket", extra={"fields": {"path": socket.url.path[:200], "requests": conversation.begun}})


@dataclass(frozen=True, slots=True)
class Running:
    """A request that was accepted."""

    stream: Stream
    task: asyncio.Task[None]

    def cancel(self) -> None:
        """Stop it, once: who is cancelled twice cannot tell his end."""
        if not self.stream.over and not self.task.cancelling():
            self.task.cancel()


class Conversation:
    """One socket: frames come in, events go out one after another, each request is a task of its own.

    `begun`: how many requests it carried.
    """

    def __init__(self, socket: WebSocket, resources: Resources) -> None:
        self._socket = socket
        self._resources = resources
        self.begun = 0
        self._running: dict[str, Running] = {}
        self._sending = asyncio.Lock()
        self._closed = False
        self._in_flight: InFlight = socket.scope["state"]["in_flight"]
        self._keys = Keys(resources.settings)
        self._admitted = self._keys.admit(socket.headers)

    async def open(self) -> None:
        """A socket that could ask for nothing is told so, and closed."""
        if self._in_flight.full:
            await self._refuse(None, Busy())
            await self._socket.close(1013)
            raise WebSocketDisconnect(1013)

    async def listen(self) -> None:
        """Take frames until the socket closes."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            await self._take(message.get("text") or message.get("bytes") or "")

    async def end(self) -> None:
        """Cancel what is unfinished: nobody is there to read it."""
        self._closed = True
        tasks = [one.task for one in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, frame: str | bytes) -> None:
        """One frame: whatever is wrong with it is told, and the socket stays open."""
        named: str | None = None
        try:
            if len(frame) > self._resources.settings.body_limit:
                raise BodyTooLarge(self._resources.settings.body_limit)
            fields = parse_object(frame, "The frame")
            if not self._admitted or fields.get("type") == "auth":
                await self._admit(fields)
                return
            named = _usable_id(fields)
            self._dispatch(fields.pop("type", None), fields, named)
            await asyncio.sleep(0)  # let the task begin: one that is cancelled before that could tell nothing
        except tuple(problems.TABLE) as error:
            await self._refuse(named, error)

    async def _admit(self, fields: dict[str, Any]) -> None:
        """Where keys are set, the first frame shows one, or the socket is closed. Where none are, any will do."""
        key = fields.get("api_key")
        shown = fields.get("type") == "auth" and isinstance(key, str) and self._keys.fits(key)
        if shown or not self._keys:
            self._admitted = True
            return
        await self._refuse(None, Unauthorized())
        await self._socket.close(1008)
        raise WebSocketDisconnect(1008)

    def _dispatch(self, kind: object, fields: dict[str, Any], id: str | None) -> None:
        if kind not in ("caption", "analyze", "cancel"):
            raise InvalidRequest(
                "The frame's 'type' must be caption, analyze or cancel.", (("/type", "unknown frame type"),)
            )
        if id is None:
            raise InvalidRequest("The frame needs an 'id': a text that is not empty.", (("/id", "is required"),))
        fields.pop("id")
        if kind == "cancel":
            self._cancel(id, fields)
        else:
            self._begin(str(kind), id, fields)

    def _cancel(self, id: str, fields: dict[str, Any]) -> None:
        if fields:
            raise InvalidRequest("A cancel frame holds only 'type' and 'id'.")
        if id not in self._running:
            raise InvalidRequest(f"Nothing is running under the id '{id}'.", (("/id", "unknown"),))
        self._running[id].cancel()

    def _begin(self, kind: str, id: str, fields: dict[str, Any]) -> None:
        if id in self._running:
            raise InvalidRequest(f"A request is running under the id '{id}'.", (("/id", "in use"),))
        limit = self._resources.settings.max_socket_requests
        if len(self._running) >= limit:
            raise TooManyRequests(limit)
        if self._in_flight.full:
            raise Busy
        request_id = telemetry.new_request_id()

        async def emit(event: Event) -> None:
            await self._send(events.wire(event, request_id))

        stream = Stream(id, request_id, emit, self._resources)
        job = self._job(kind, fields, stream)
        telemetry.request_id.set(request_id)  # the task takes a copy along: its log lines bear it
        self._in_flight.take()
        task = asyncio.create_task(job)
        self._running[id] = Running(stream, task)
        self.begun += 1
        task.add_done_callback(lambda done: self._ended(id))

    def _ended(self, id: str) -> None:
        self._in_flight.give_back()
        del self._running[id]

    def _job(self, kind: str, fields: dict[str, Any], stream: Stream) -> Coroutine[Any, Any, None]:
        """The work of a frame, everything that can be refused refused. (A coroutine: it has not begun.)"""
        if kind == "analyze":
            asked = validate(AnalyzeRequest, fields)
            require_one_image(asked, None)
            return stream.analyze(plan_analysis(asked, self._resources))
        one = validate(CaptionRequest, fields)
        require_one_image(one, None)
        return stream.caption(plan(one.perspective, one, self._resources))

    async def _refuse(self, id: str | None, error: Exception) -> None:
        await self._send(events.Error(id=id, perspective=None, problem=problems.problem(error, id or "")))

    async def _send(self, event: BaseModel) -> None:
        """One at a time, and not before the last is taken: a slow reader holds the work back."""
        async with self._sending:
            if self._closed:
                return
            try:
                await self._socket.send_text(event.model_dump_json())
            except WebSocketDisconnect:  # `listen` is about to hear of it too
                self._closed = True


def _usable_id(fields: dict[str, Any]) -> str | None:
    given = fields.get("id")
    return given if isinstance(given, str) and 0 < len(given) <= _MAX_ID else None
