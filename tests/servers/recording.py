"""A server that records every request and answers 418, for addresses that must not be called."""

import asyncio

from tests.servers.connection import Connection, Request
from tests.servers.listener import Listener
from tests.servers.reply import json_reply


class RecordingServer(Listener):
    """Record every request. A test asserts that the server is `not_called`, or that no request carries a key."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []

    @property
    def url(self) -> str:
        return self.origin

    @property
    def not_called(self) -> bool:
        return self.connections == 0

    def received(self, secret: str) -> bool:
        """Return whether the target, a header or the body of any request contains the text."""
        return any(
            secret in request.target
            or any(secret in value for value in request.headers.values())
            or secret.encode() in request.body
            for request in self.requests
        )

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)

        async def serve(request: Request) -> None:
            self.requests.append(request)
            await connection.send(json_reply({"error": "recorded"}, 418))

        await connection.run(serve, lambda: None)
