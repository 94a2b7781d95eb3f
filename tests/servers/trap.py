"""A stranger's address: it keeps whatever it is sent and answers nothing useful."""

import asyncio

from tests.servers.connection import Connection, Request
from tests.servers.listener import Listener
from tests.servers.reply import json_reply


class TrapServer(Listener):
    """Records every request; a test asserts that it is `untouched`, or carries no key."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []

    @property
    def url(self) -> str:
        return self.origin

    @property
    def untouched(self) -> bool:
        return self.connections == 0

    def carries(self, secret: str) -> bool:
        """Whether any request held this text, anywhere."""
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
            await connection.send(json_reply({"error": "trapped"}, 418))

        await connection.run(serve, lambda: None)
