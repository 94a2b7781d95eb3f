"""A server on every address of the namespace, which records all connections and answers with an image."""

import asyncio
import re
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import unquote

PLAIN, TLS = (22, 80, 8000, 8080, 11434), (443,)
Writer = asyncio.StreamWriter
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@dataclass
class RecordedConnection:
    """A recorded connection: its destination address and port, and the bytes received."""

    address: str
    port: int
    received: bytes = b""


class AddressListener:
    """Listen on all IPv4 and IPv6 addresses, on the ports PLAIN and TLS."""

    def __init__(self, image: bytes, tls: ssl.SSLContext) -> None:
        self.connections: list[RecordedConnection] = []
        self._image, self._tls = image, tls

    async def start(self) -> None:
        for family, everywhere in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            for port in (*PLAIN, *TLS):
                listening = socket.socket(family)
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listening.bind((everywhere, port))
                await asyncio.start_server(
                    self._accept, sock=listening, backlog=512, ssl=self._tls if port in TLS else None
                )

    async def _accept(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        address, port = writer.get_extra_info("sockname")[:2]
        connection = RecordedConnection(str(ip_address(address.partition("%")[0])), port)
        self.connections.append(connection)
        with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.LimitOverrunError):
            await self._serve(reader, writer, connection)
        with suppress(Exception):  # the client may have reset the connection
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: Writer, connection: RecordedConnection) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            connection.received += head
            if length := _LENGTH.search(head):
                connection.received += await reader.readexactly(int(length[1]))
            path = head.split()[1].decode("latin-1")
            if b"moved.test" in head:
                path = "/to?http://10.0.0.9/v1/models"
            writer.write(self._reply(path))
            await writer.drain()
            if not path.startswith("/keep"):
                return

    def _reply(self, path: str) -> bytes:
        kind, _, rest = path[1:].partition("?" if path.startswith("/to?") else "/")
        if kind == "to":
            return _reply(b"", "302 Found", f"location: {unquote(rest)}")
        if kind == "nowhere":
            return _reply(b"", "302 Found")
        if kind == "hops":
            return _reply(b"", "302 Found", f"location: /hops/{int(rest) - 1}" if rest != "1" else "location: /a.jpg")
        if kind in ("v1", "v1beta", "api"):
            return _reply(b'{"error": {"message": "recorded"}}', "418 Recorded", "content-type: application/json")
        return _reply(self._image, "200 OK", "set-cookie: id=cookie-of-the-listener", "content-type: image/jpeg")


def _reply(body: bytes, status: str, *lines: str) -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"content-length: {len(body)}", *lines])
    return head.encode("latin-1") + b"\r\n\r\n" + body
