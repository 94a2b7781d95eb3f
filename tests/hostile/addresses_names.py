"""A name server over UDP and TCP that says what a table says, well-behaved or not."""

import asyncio
import struct
from collections import Counter
from ipaddress import ip_address
from typing import Any, cast

A, CNAME, AAAA = 1, 5, 28
_SAFE_UDP = 512


class NameServer:
    """`table`: name -> {answers = [[addresses of the 1st answer], [of the 2nd] …], cname, count, fault}.

    The last answer is given for ever. `asked`: how often each (name, type) was.
    """

    def __init__(self, table: dict[str, dict[str, Any]]) -> None:
        self._table = table
        self.asked: Counter[tuple[str, int]] = Counter()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: _Datagrams(self), ("127.0.0.1", 53))
        await asyncio.start_server(self._stream, "127.0.0.1", 53)

    def answer(self, query: bytes, most: int) -> bytes | None:
        name, end = _name(query, 12)
        kind = struct.unpack_from("!H", query, end)[0]
        question = query[12 : end + 4]
        row = self._table.get(name)
        self.asked[name, kind] += 1
        fault = (row or {}).get("fault", "")
        if fault == "silent":
            return None
        if fault == "garbage":
            return query[:2] + b"\xff" * 40
        code = 2 if fault == "servfail" else 3 if row is None else 0
        records = [] if code else self._records(name, kind)
        whole = _message(query, code, records, question)
        return whole if len(whole) <= most else _message(query, code, [], question, truncated=True)

    def _records(self, name: str, kind: int) -> list[bytes]:
        row = self._table.get(name, {})
        if "cname" in row:
            target = row["cname"]
            return [_record(name, CNAME, _labels(target)), *self._records(target, kind)]
        if "count" in row:
            addresses = [str(ip_address("93.184.0.0") + number) for number in range(row["count"])] + row["and"]
        else:
            answers = row.get("answers", [[]])
            addresses = answers[min(self.asked[name, kind], len(answers)) - 1 if self.asked[name, kind] else 0]
        found = [ip_address(one) for one in addresses]
        return [_record(name, kind, one.packed) for one in found if (AAAA if one.version == 6 else A) == kind]

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                reply = self.answer(await reader.readexactly(length), 65535)
                if reply is not None:
                    writer.write(struct.pack("!H", len(reply)) + reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # its class says so from Python 3.12 on

    def datagram_received(self, data: bytes, addr: Any) -> None:
        reply = self._server.answer(data, _SAFE_UDP)
        if reply is not None:
            self._transport.sendto(reply, addr)


def _name(query: bytes, start: int) -> tuple[str, int]:
    labels = []
    while length := query[start]:
        labels.append(query[start + 1 : start + 1 + length].decode("latin-1").lower())
        start += length + 1
    return ".".join(labels), start + 1


def _labels(name: str) -> bytes:
    return b"".join(bytes([len(one)]) + one.encode() for one in name.split(".")) + b"\0"


def _record(name: str, kind: int, data: bytes) -> bytes:
    return _labels(name) + struct.pack("!HHIH", kind, 1, 0, len(data)) + data


def _message(query: bytes, code: int, records: list[bytes], question: bytes, *, truncated: bool = False) -> bytes:
    flags = 0x8180 | code | (0x0200 if truncated else 0)
    return query[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0) + question + b"".join(records)
