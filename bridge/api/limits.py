"""How much is taken on at once: what is over it is refused at once, before its body is read."""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from bridge import problems
from bridge.api import answers
from bridge.captioning.errors import Busy


class InFlight:
    """Counts the requests of one worker that are under way."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0

    @property
    def full(self) -> bool:
        """Whether one more would be refused."""
        return self._count >= self._limit

    def take(self) -> None:
        """Count one more. Raises Busy."""
        if self.full:
            raise Busy
        self._count += 1

    def give_back(self) -> None:
        """Count one less."""
        self._count -= 1


class Limited:
    """An ASGI layer: POSTs are counted, a socket counts its own requests by `scope["state"]["in_flight"]`."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._in_flight = InFlight(limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "websocket":
            scope.setdefault("state", {})["in_flight"] = self._in_flight
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        try:
            self._in_flight.take()
        except Busy as error:
            problem = problems.problem(error, scope["state"]["request_id"])
            await answers.failure(Request(scope), problem)(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_flight.give_back()
