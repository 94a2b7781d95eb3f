"""A client of the socket: frames out, events in."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from websockets.sync.client import ClientConnection, connect

from bridge.api.drain import Drain
from bridge.api.middleware.concurrency import ConcurrencyLimit
from bridge.api.middleware.rate_limit import RateLimiter
from bridge.settings import Settings
from tests.api.streams import HANG_GUARD, Event, check_story
from tests.service import Service


class Socket:
    """One connection; `told` keeps every event that was received, by id."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.told: dict[str | None, list[Event]] = {}

    def send(self, kind: str, id: object = None, **fields: Any) -> None:
        self.raw(frame(kind, id, **fields))

    def raw(self, frame: str | bytes) -> None:
        self.connection.send(frame)

    def next(self) -> Event:
        event: Event = json.loads(self.connection.recv(HANG_GUARD))
        self.told.setdefault(event["id"], []).append(event)
        return event

    def until(self, id: str | None, *types: str) -> Event:
        """Receive until this id has an event of these types."""
        while not (found := [one for one in self.told.get(id, []) if one["type"] in types]):
            self.next()
        return found[0]

    def story(self, id: str, *perspectives: str) -> list[Event]:
        """Every event of a request, checked to be a whole story."""
        self.until(id, "done")
        told = self.told.pop(id)
        check_story(told, perspectives)
        return told

    def problem(self, id: str | None = None) -> dict[str, Any]:
        """The problem of the frame that was refused under this id."""
        event = self.until(id, "error")
        self.told.pop(id)
        assert event["perspective"] is None
        problem: dict[str, Any] = event["problem"]
        return problem


def frame(kind: str, id: object = None, **fields: Any) -> str:
    named = {} if id is None else {"id": id}
    return json.dumps({"type": kind, **named, **fields})


@contextmanager
def socket(service: Service | str, path: str = "/api/v1/perspectives/stream", **options: Any) -> Iterator[Socket]:
    """A socket of a service, or of whoever has this address."""
    url = service if isinstance(service, str) else service.url
    with connect(
        url.replace("http", "ws") + path, open_timeout=HANG_GUARD, max_size=None, proxy=None, **options
    ) as connection:
        yield Socket(connection)


def state(limit: int = 99) -> dict[str, Any]:
    """What the layers around the application tell a handler."""
    return {
        "in_flight": ConcurrencyLimit(limit),
        "drain": Drain(),
        "rates": RateLimiter(Settings()),
        "caller": "a test",
    }
