"""A WebSocket client that sends frames and receives events."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Response
from websockets.sync.client import ClientConnection, connect

from bridge.api.drain import Drain
from bridge.api.middleware.concurrency import ConcurrencyLimit
from bridge.api.middleware.rate_limit import RateLimiter
from bridge.settings import Settings
from bridge.telemetry.record import RequestRecord
from tests.api.streams import Event, check_event_order
from tests.guard import GUARD
from tests.service import Service


class Socket:
    """A connection; `received` contains every event by id."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.received: dict[str | None, list[Event]] = {}

    def send(self, kind: str, id: object = None, **fields: Any) -> None:
        self.raw(frame(kind, id, **fields))

    def raw(self, frame: str | bytes) -> None:
        self.connection.send(frame)

    def next(self) -> Event:
        event: Event = json.loads(self.connection.recv(GUARD))
        self.received.setdefault(event["id"], []).append(event)
        return event

    def until(self, id: str | None, *types: str) -> Event:
        """Receive until this id has an event of these types."""
        while not (matching := [event for event in self.received.get(id, []) if event["type"] in types]):
            self.next()
        return matching[0]

    def all_events(self, id: str, *perspectives: str) -> list[Event]:
        """Return all events of a request, after checking that they are complete and in order."""
        self.until(id, "done")
        received = self.received.pop(id)
        check_event_order(received, perspectives)
        return received

    def close_code(self) -> int:
        """Receive until the service closes the WebSocket, and return the code."""
        with pytest.raises(ConnectionClosed) as closed:  # noqa: PT012 (events may come before)
            while True:
                self.next()
        assert closed.value.rcvd is not None
        return closed.value.rcvd.code

    def problem(self, id: str | None = None) -> dict[str, Any]:
        """Return the problem of the frame that was rejected under this id."""
        event = self.until(id, "error")
        self.received.pop(id)
        assert event["perspective"] is None
        return event["problem"]


def frame(kind: str, id: object = None, **fields: Any) -> str:
    return json.dumps({"type": kind, **({} if id is None else {"id": id}), **fields})


@contextmanager
def socket(service: Service | str, path: str = "/api/v1/perspectives/stream", **options: Any) -> Iterator[Socket]:
    """Open a WebSocket to a service, or to a base URL."""
    url = service if isinstance(service, str) else service.url
    with connect(
        url.replace("http", "ws") + path, open_timeout=GUARD, max_size=None, proxy=None, **options
    ) as connection:
        yield Socket(connection)


def rejection(service: Service, *path: str, **options: Any) -> Response:
    """Return the HTTP response to a rejected WebSocket."""
    with pytest.raises(InvalidStatus) as refused, socket(service, *path, **options):
        pass
    return refused.value.response


def state() -> dict[str, Any]:
    """Return what the middleware passes to a handler in `scope["state"]`."""
    return {
        "in_flight": ConcurrencyLimit(99),
        "drain": Drain(),
        "rates": RateLimiter(Settings()),
        "record": RequestRecord("r1"),
    }
