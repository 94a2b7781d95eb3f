"""`WS /perspectives/stream`: many requests on one socket, by id."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from fastapi import APIRouter, Response, WebSocket
from starlette.websockets import WebSocketDisconnect

from bridge import errors, telemetry
from bridge.api import events
from bridge.api.drain import Drain
from bridge.api.ending import end
from bridge.api.leaving import STALL_SECONDS, Reader, one_of, unless
from bridge.api.middleware.auth import ApiKeys
from bridge.api.middleware.concurrency import ConcurrencyLimit
from bridge.api.middleware.rate_limit import RateLimiter
from bridge.api.request_body import parse_object
from bridge.api.running import Running
from bridge.captioning import problems
from bridge.captioning.analyze import plan_analysis
from bridge.captioning.check import name_models
from bridge.captioning.events import Event
from bridge.captioning.models import AnalyzeRequest, CaptionOptions, CaptionRequest
from bridge.captioning.parse import validate
from bridge.captioning.plan import deadline, plan, require_one_image
from bridge.captioning.services import Services
from bridge.captioning.stream import Stream
from bridge.deadline import Deadline
from bridge.errors import (
    ApiKeyRequired,
    BodyTooLarge,
    Cancelled,
    InvalidJson,
    InvalidRequest,
    RateLimitExceeded,
    ServerAtCapacity,
    ShuttingDown,
    SocketAtCapacity,
)
from bridge.telemetry import Account, current

router = APIRouter()
_MAX_ID = 200
ADMIT_SECONDS = 10.0
_MAX_AUTH = 4096
_OPENING_SECONDS = 1.0
_RESTART = 1012
Work = Callable[[Stream], Coroutine[Any, Any, None]]


@router.websocket("/perspectives/stream")
async def stream(socket: WebSocket) -> None:
    """Serve one socket until it is closed; what it asked for ends with it."""
    await Conversation(socket, socket.app.state.services).serve()


class Conversation:
    """One socket: frames come in, events go out one after another, each request is a task of its own."""

    def __init__(
        self,
        socket: WebSocket,
        services: Services,
        admit_within: float = ADMIT_SECONDS,
        stall: float = STALL_SECONDS,
    ) -> None:
        """`admit_within`: seconds to show a key, where one is wanted. `stall`: seconds that an event may wait."""
        self._socket = socket
        self._resources = services
        self._account = current()
        self._begun = 0
        self._running: dict[str, Running] = {}
        self._reader = Reader(socket.send, stall)
        self._admit_within = admit_within
        state = socket.scope["state"]
        self._in_flight: ConcurrencyLimit = state["in_flight"]
        self._drain: Drain = state["drain"]
        self._rates: RateLimiter = state["rates"]
        self._caller: str = state["caller"]
        self._taking = False
        self._idle = asyncio.Event()
        self._keys = ApiKeys(services.settings)

    async def serve(self) -> None:
        """Take frames until the socket closes, nobody reads what is sent, or the service ends; then end the rest."""
        try:
            with self._drain.under_way():
                await self._socket.accept()
                # Who was let in just before the end is about to ask: one request is heard.
                opening = asyncio.get_running_loop().call_later(_OPENING_SECONDS, self._note_idle)
                try:
                    await self._converse()
                finally:
                    opening.cancel()
        except ShuttingDown as error:
            await self._send_elsewhere(error)
        finally:
            if self._account is not None:
                self._account.noted["requests"] = self._begun

    async def _send_elsewhere(self, error: Exception) -> None:
        """Refuse the socket before it is one, as a request is refused: a proxy can ask another instance."""
        told = problems.from_error(error, telemetry.new_request_id())
        headers = {"X-Request-Begun": "no", "X-Request-ID": told.instance, "Retry-After": "1"}
        refusal = Response(told.model_dump_json(), told.status, headers, "application/json")
        await self._socket.send_denial_response(refusal)

    async def _converse(self) -> None:
        try:
            await unless(self._left(), self._listen())
        except (WebSocketDisconnect, Cancelled):
            pass
        except asyncio.CancelledError:
            if not self._drain.ends_this():
                raise
        finally:
            if self._drain.begun.is_set():
                await self._take_leave()
            await self._end()

    async def _left(self) -> None:
        """Wait until nobody reads any more, or the service ends and this socket has nothing to finish."""
        await one_of(self._reader.gone, self._drain.begun)
        await one_of(self._reader.gone, self._idle)

    async def _take_leave(self) -> None:
        """Tell what is not finished that the service ends, then close."""
        running = list(self._running.values())
        for one in running:
            one.cancel(ShuttingDown())
        await asyncio.gather(*(one.task for one in running), return_exceptions=True)
        await self._reader.take({"type": "websocket.close", "code": _RESTART})

    async def _listen(self) -> NoReturn:
        if self._in_flight.full:
            await self._hang_up(ServerAtCapacity(), 1013)
        if self._keys and self._keys.find_in(self._socket.headers) is None:
            await self._admit()
        while True:
            # No name for the frame: it would live as long as the error that ends the socket, whose frames gc frees.
            await self._take(await self._frame())
            # Others have their turn however many frames came at once, and a task begins: one that is cancelled before
            # that could tell nothing.
            await asyncio.sleep(0)

    def _note_idle(self) -> None:
        if not self._running and not self._taking:
            self._idle.set()

    async def _frame(self) -> str | bytes:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1006))
        return message.get("text") or message.get("bytes") or ""

    async def _admit(self) -> None:
        """The first frame shows a key, soon, and is no larger than that takes; or the socket is closed."""
        try:
            async with asyncio.timeout(self._admit_within):
                frame = await self._frame()
            fields = parse_object(frame, "The frame") if len(frame) <= _MAX_AUTH else {}
        except (TimeoutError, InvalidJson):
            fields = {}
        number = self._shown(fields) if fields.get("type") == "auth" else None
        if number is None:
            await self._turn_away()
        self._caller = f"key {number}"

    def _shown(self, fields: dict[str, Any]) -> int | None:
        key = fields.get("api_key")
        return self._keys.find(key) if isinstance(key, str) else None

    async def _turn_away(self) -> NoReturn:
        """Hang up on a caller without a key; who guesses keys is counted."""
        try:
            await self._rates.count(self._caller)
        except RateLimitExceeded as error:
            await self._hang_up(error, 1008)
        await self._hang_up(ApiKeyRequired(), 1008)

    async def _end(self) -> None:
        self._reader.gone.set()
        tasks = [one.task for one in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, frame: str | bytes) -> None:
        """One frame: whatever is wrong with it is told, and the socket stays open."""
        self._taking = True
        self._idle.clear()
        try:
            await self._taken(frame)
        finally:
            self._taking = False
            self._note_idle()

    async def _taken(self, frame: str | bytes) -> None:
        named: str | None = None
        account = Account(telemetry.new_request_id(), status=200)
        account.open()
        try:
            fields = await self._read(frame)
            if fields.get("type") == "auth":
                if self._keys and self._shown(fields) is None:
                    await self._turn_away()
                return
            named = _usable_id(fields)
            if fields.get("type") != "cancel":
                await self._rates.count(self._caller)
            await self._dispatch(account, fields.pop("type", None), fields, named)
        except tuple(errors.TABLE) as error:
            await self._refuse(named, error, account)
            end(account, self._socket.scope, "WS")

    async def _read(self, frame: str | bytes) -> dict[str, Any]:
        """A frame's fields; one that is none is counted as a request would be."""
        limit = self._resources.settings.body_limit
        try:
            if len(frame) > limit:
                raise BodyTooLarge(limit)
            return parse_object(frame, "The frame")
        except (BodyTooLarge, InvalidJson, InvalidRequest):
            await self._rates.count(self._caller)
            raise

    async def _dispatch(self, account: Account, kind: object, fields: dict[str, Any], id: str | None) -> None:
        if kind not in ("caption", "analyze", "cancel"):
            raise InvalidRequest(
                "The frame's 'type' must be caption, analyze or cancel.", (("/type", "unknown frame type"),)
            )
        if id is None:
            raise InvalidRequest(
                f"The frame needs an 'id': a text of 1 to {_MAX_ID} characters.", (("/id", "is required"),)
            )
        fields.pop("id")
        if kind == "cancel":
            self._cancel(id, fields)
        else:
            account.wants_caption = True
            await self._begin(account, str(kind), id, fields)

    def _cancel(self, id: str, fields: dict[str, Any]) -> None:
        if fields:
            raise InvalidRequest("A cancel frame holds only 'type' and 'id'.")
        if id not in self._running:
            raise InvalidRequest(f"Nothing is running under the id '{id}'.", (("/id", "unknown"),))
        self._running[id].cancel()

    async def _begin(self, account: Account, kind: str, id: str, fields: dict[str, Any]) -> None:
        if id in self._running:
            raise InvalidRequest(f"A request is running under the id '{id}'.", (("/id", "in use"),))
        limit = self._resources.settings.max_socket_requests
        if len(self._running) >= limit:
            raise SocketAtCapacity(limit)
        if self._drain.begun.is_set() and self._begun:
            raise ShuttingDown
        if self._in_flight.full:
            raise ServerAtCapacity
        asked, work = await self._work(kind, fields)
        until = deadline(asked, self._resources)

        async def emit(event: Event) -> None:
            told = events.wire(event, account.id)
            if isinstance(told, events.Error):
                account.code, account.status = told.problem.code, told.problem.status
            await self._send(told, until)

        stream = Stream(id, account.id, emit, self._resources)
        self._in_flight.acquire()
        task = asyncio.create_task(work(stream))  # it takes the account along
        self._running[id] = Running(stream, task)
        self._begun += 1
        task.add_done_callback(lambda done: self._ended(id, account))

    def _ended(self, id: str, account: Account) -> None:
        self._in_flight.release()
        del self._running[id]
        if any(one.whole for one in account.captions):
            account.status = 200
        self._note_idle()
        end(account, self._socket.scope, "WS")

    async def _work(self, kind: str, fields: dict[str, Any]) -> tuple[CaptionOptions, Work]:
        """What a frame asks and the work it takes, everything that can be refused refused."""
        if kind == "analyze":
            several = validate(AnalyzeRequest, fields)
            require_one_image(several, None)
            analysis = await plan_analysis(several, self._resources)
            return several, lambda stream: stream.analyze(analysis)
        one = validate(CaptionRequest, fields)
        require_one_image(one, None)
        settled = await plan(one.perspective, one, self._resources)
        return one, lambda stream: stream.caption(settled)

    async def _hang_up(self, error: Exception, code: int) -> NoReturn:
        """Tell why, and close."""
        await self._refuse(None, error, self._account)
        await self._reader.take({"type": "websocket.close", "code": code})
        raise WebSocketDisconnect(code)

    async def _refuse(self, id: str | None, error: Exception, account: Account | None) -> None:
        error = await name_models(error, self._resources)
        problem = problems.from_error(error, account.id if account is not None else "")
        if account is not None:
            account.code, account.status = problem.code, problem.status
        await self._send(events.Error(id=id, perspective=None, problem=problem))

    async def _send(self, event: events.Told, until: Deadline | None = None) -> None:
        await self._reader.take({"type": "websocket.send", "text": event.model_dump_json()}, until)


def _usable_id(fields: dict[str, Any]) -> str | None:
    given = fields.get("id")
    return given if isinstance(given, str) and 0 < len(given) <= _MAX_ID else None
