"""A listener at every address there is: it keeps who came to which address with what, and answers a picture."""

import asyncio
import gzip
import os
import re
import socket
import ssl
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import unquote

PLAIN, TLS = (22, 80, 8000, 8080, 11434), (443,)
Writer = asyncio.StreamWriter
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_OK = b"HTTP/1.1 200 OK\r\n"


@dataclass
class Visit:
    """One connection: the address and port it came to, and every byte it brought."""

    address: str
    port: int
    sent: bytes = b""


class Trap:
    """Listens on all addresses of both families, on the ports above."""

    def __init__(self, picture: bytes, tls: ssl.SSLContext) -> None:
        self.visits: list[Visit] = []
        self._picture, self._tls = picture, tls

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
        visit = Visit(str(ip_address(address.partition("%")[0])), port)
        self.visits.append(visit)
        with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.LimitOverrunError):
            await self._serve(reader, writer, visit)
        with suppress(Exception):  # a server that ends badly is what is tested
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: Writer, visit: Visit) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            visit.sent += head
            if length := _LENGTH.search(head):
                visit.sent += await reader.readexactly(int(length[1]))
            path = head.split()[1].decode("latin-1")
            if path.startswith("/fault/"):
                return await FAULTS[path.removeprefix("/fault/").partition("?")[0]](writer, self._picture)
            if b"moved.test" in head:
                path = "/to?http://10.0.0.9/v1/models"
            writer.write(self._reply(path))
            await writer.drain()
            if not path.startswith("/keep"):
                return None

    def _reply(self, path: str) -> bytes:
        kind, _, rest = path[1:].partition("?" if path.startswith("/to?") else "/")
        if kind == "to":
            return _reply(b"", "302 Found", f"location: {unquote(rest)}")
        if kind == "nowhere":
            return _reply(b"", "302 Found")
        if kind == "hops":
            return _reply(b"", "302 Found", f"location: /hops/{int(rest) - 1}" if rest != "1" else "location: /a.jpg")
        if kind in ("v1", "v1beta", "api"):
            return _reply(b'{"error": {"message": "trapped"}}', "418 Trapped", "content-type: application/json")
        return _reply(self._picture, "200 OK", "set-cookie: id=cookie-of-the-trap", "content-type: image/jpeg")


def _reply(body: bytes, status: str, *lines: str) -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"content-length: {len(body)}", *lines])
    return head.encode("latin-1") + b"\r\n\r\n" + body


# How a server can misbehave, each by its name.

Fault = Callable[[Writer, bytes], Awaitable[None]]


def sends(*parts: bytes, picture: bool = True) -> Fault:
    """These bytes, the picture behind them, then the end."""

    async def fault(writer: Writer, body: bytes) -> None:
        writer.write(b"".join(parts) + (body if picture else b""))
        await writer.drain()

    return fault


def endlessly(head: bytes, part: bytes, pause: float = 0) -> Fault:
    """A head and then the same part for ever."""

    async def fault(writer: Writer, _: bytes) -> None:
        writer.write(head)
        async for _turn in _for_ever(pause):
            writer.write(part)
            await writer.drain()

    return fault


async def _for_ever(pause: float) -> AsyncIterator[None]:
    while True:
        yield
        await asyncio.sleep(pause)


def encoded(name: str, compress: Callable[[bytes], bytes], field: str = "content-encoding") -> Fault:
    async def fault(writer: Writer, body: bytes) -> None:
        packed = compress(body)
        writer.write(_OK + f"{field}: {name}\r\ncontent-length: {len(packed)}\r\n\r\n".encode() + packed)
        await writer.drain()

    return fault


async def silent(writer: Writer, body: bytes) -> None:
    await asyncio.sleep(60)


async def half(writer: Writer, body: bytes) -> None:
    """Half of what was announced, then nothing."""
    writer.write(_OK + f"content-length: {len(body)}\r\n\r\n".encode() + body[: len(body) // 2])
    await silent(writer, body)


async def reset(writer: Writer, body: bytes) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def broken_tls(writer: Writer, body: bytes) -> None:
    """Bytes beneath TLS that are none, in the place of the answer."""
    os.write(writer.get_extra_info("socket").fileno(), b"\x17\x03\x03\x00\x20" + b"x" * 4000)
    await silent(writer, body)


def bomb(_: bytes) -> bytes:
    return gzip.compress(b"\0" * 50_000_000)


FAULTS: dict[str, Fault] = {
    "gzip": encoded("gzip", gzip.compress),
    "deflate": encoded("deflate", zlib.compress),
    "br": encoded("br", bytes),
    "gzip-twice": encoded("identity, gzip", gzip.compress),
    "gzip-bomb": encoded("gzip", bomb),
    "gzip-in-transfer": encoded("gzip, chunked", gzip.compress, "transfer-encoding"),
    "endless-body": endlessly(_OK + b"\r\n", b"x" * 65536),
    "endless-chunks": endlessly(_OK + b"transfer-encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n"),
    "endless-small-chunks": endlessly(_OK + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 5000),
    "endless-chunk-extension": endlessly(_OK + b"transfer-encoding: chunked\r\n\r\n1;a=", b"x" * 65536),
    "endless-trailers": endlessly(_OK + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"a: " + b"x" * 1000 + b"\r\n"),
    "endless-headers": endlessly(_OK, b"x-a: " + b"b" * 1000 + b"\r\n"),
    "endless-header": endlessly(_OK + b"x-a: ", b"b" * 65536),
    "endless-1xx": endlessly(b"", b"HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n" * 100),
    "slow-1xx": endlessly(b"", b"HTTP/1.1 102 Processing\r\n\r\n", 0.05),
    "drip": endlessly(_OK + b"\r\n", b"x", 0.05),
    "drip-head": endlessly(_OK, b"x", 0.05),
    "silent": silent,
    "half": half,
    "reset": reset,
    "broken-tls": broken_tls,
    "closed": sends(picture=False),
    "huge-header": sends(_OK, b"x-a: " + b"b" * 1_000_000 + b"\r\n\r\n"),
    "huge-length": sends(_OK, b"content-length: 99999999999\r\n\r\n"),
    "unreal-length": sends(_OK, b"content-length: " + b"9" * 5000 + b"\r\n\r\n"),
    "negative-length": sends(_OK, b"content-length: -5\r\n\r\n"),
    "two-lengths": sends(_OK, b"content-length: 5\r\ncontent-length: 6\r\n\r\n"),
    "length-and-chunks": sends(_OK, b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
    "bad-chunks": sends(_OK, b"transfer-encoding: chunked\r\n\r\nnonsense\r\n"),
    "negative-chunk": sends(_OK, b"transfer-encoding: chunked\r\n\r\n-1\r\n"),
    "huge-chunk": sends(_OK, b"transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n"),
    "cut": sends(_OK, b"content-length: 99999\r\n\r\n"),
    "longer-than-said": sends(_OK, b"content-length: 30\r\n\r\n"),
    "no-body": sends(_OK, b"content-length: 0\r\n\r\n", picture=False),
    "no-http": sends(b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n"),
    "no-head": sends(),
    "newer-http": sends(b"HTTP/9.9 200 OK\r\n\r\n"),
    "odd-status": sends(b"HTTP/1.1 999 Odd\r\n\r\n"),
    "no-status": sends(b"HTTP/1.1 abc OK\r\n\r\n"),
    "nul-in-header": sends(_OK, b"x-a: a\0b\r\n\r\n"),
    "bare-newlines": sends(b"HTTP/1.1 200 OK\nx\n\n"),
    "switching": sends(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
    "no-content": sends(b"HTTP/1.1 204 No Content\r\n\r\n", picture=False),
    "not-modified": sends(b"HTTP/1.1 304 Not Modified\r\n\r\n", picture=False),
    "partial": sends(b"HTTP/1.1 206 Partial\r\n\r\n"),
    "login": sends(b"HTTP/1.1 401 Who\r\nwww-authenticate: Basic realm=a\r\n\r\n"),
    "page": sends(_OK, b"\r\n<!doctype html><html>hello</html>", picture=False),
    "failed": sends(b"HTTP/1.1 503 Down\r\nretry-after: 9999\r\n\r\n"),
}
