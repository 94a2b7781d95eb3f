"""A DNS server over UDP that answers from a table, optionally with faults."""

import asyncio
import struct
from collections import Counter
from ipaddress import ip_address
from typing import Any, cast

A, CNAME, AAAA = 1, 5, 28


class DnsServer(asyncio.DatagramProtocol):
    """Answer queries from `table`: name -> {answers = [[addresses of answer 1], [of answer 2] …], cname, fault}.

    The last answer is repeated. `queries`: the number of queries per (name, type).
    """

    def __init__(self, table: dict[str, dict[str, Any]]) -> None:
        self._table = table
        self.queries: Counter[tuple[str, int]] = Counter()

    async def start(self) -> None:
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, ("127.0.0.1", 53))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # typed since Python 3.12

    def datagram_received(self, data: bytes, addr: Any) -> None:
        name, end = _name(data, 12)
        kind = struct.unpack_from("!H", data, end)[0]
        row = self._table.get(name)
        self.queries[name, kind] += 1
        fault = (row or {}).get("fault", "")
        if fault != "silent":
            code = 2 if fault == "servfail" else 3 if row is None else 0
            records = [] if code else self._records(name, kind)
            head = data[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(records), 0, 0)
            self._transport.sendto(head + data[12 : end + 4] + b"".join(records), addr)

    def _records(self, name: str, kind: int) -> list[bytes]:
        row = self._table.get(name, {})
        if "cname" in row:
            return [_record(name, CNAME, _labels(row["cname"])), *self._records(row["cname"], kind)]
        answers = row.get("answers", [[]])
        addresses = map(ip_address, answers[min(max(self.queries[name, kind], 1), len(answers)) - 1])
        return [_record(name, kind, ip.packed) for ip in addresses if (AAAA if ip.version == 6 else A) == kind]


def _name(query: bytes, start: int) -> tuple[str, int]:
    labels = []
    while length := query[start]:
        labels.append(query[start + 1 : start + 1 + length].decode("latin-1").lower())
        start += length + 1
    return ".".join(labels), start + 1


def _labels(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def _record(name: str, kind: int, data: bytes) -> bytes:
    return _labels(name) + struct.pack("!HHIH", kind, 1, 0, len(data)) + data
