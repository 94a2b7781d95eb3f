"""Address classes, the address policy, and the guarded transport on real sockets."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bridge.errors import AddressRefused
from bridge.network.addresses import classify
from bridge.network.policy import AddressPolicy
from bridge.network.transport import GuardedTransport
from tests.servers import RecordingServer
from tests.servers.tls import FILE, self_signed

LOOPBACK = AddressPolicy(mode="listed", allow_networks=("127.0.0.0/8",))


CLASSES = {
    "public": "8.8.8.8 2606:4700::1111 172.32.0.1 100.128.0.1",
    "loopback": "127.0.0.1 127.255.255.254 ::1",
    "private": "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 fd12::1 fec0::1 0.0.0.0 :: 0.1.2.3 240.0.0.1 "
    "192.0.0.8 192.0.0.9 192.88.99.1 100::1 5f00::1 4000::1 192.31.196.1 192.175.48.1 2620:4f:8000::1 3ffe::1 "
    "2001:20::1 100.64.0.1 100.127.255.255 224.0.0.1 ff02::1 ff0e::1 255.255.255.255 192.0.2.1 198.51.100.1 "
    "203.0.113.1 2001:db8::1 3fff::1 198.19.0.1 2001:2::1 64:ff9b:1::808:808",
    "link-local": "169.254.1.1 fe80::1 fe80::1%eth0",
    "metadata": "169.254.169.254 169.254.170.2 192.0.0.192 100.100.100.200 168.63.129.16 "
    "fd00:ec2::254 fd20:ce::254 fe80::a9fe:a9fe fe80::a9fe:a9fe%eth0 169.254.0.23 169.254.42.42",
}


@pytest.mark.parametrize("word", CLASSES)
def test_every_class_of_address(word: str) -> None:
    addresses = CLASSES[word].split()
    assert {address: classify(address) for address in addresses} == dict.fromkeys(addresses, word)


WRAPPINGS: list[Callable[[int], str]] = [
    lambda v4: f"::ffff:{v4 >> 16:x}:{v4 & 0xFFFF:x}",
    lambda v4: f"::ffff:0:{v4 >> 16:x}:{v4 & 0xFFFF:x}",
    lambda v4: f"::{v4 >> 16:x}:{v4 & 0xFFFF:x}",
    lambda v4: f"64:ff9b::{v4 >> 16:x}:{v4 & 0xFFFF:x}",
    lambda v4: f"64:ff9b:1::{v4 >> 16:x}:{v4 & 0xFFFF:x}",
    lambda v4: f"64:ff9b:1:{v4 >> 16:x}:{v4 >> 8 & 0xFF:x}:{(v4 & 0xFF) << 8:x}::",
    lambda v4: f"2002:{v4 >> 16:x}:{v4 & 0xFFFF:x}::1",
    lambda v4: f"2001:0:808:808::{(v4 >> 16) ^ 0xFFFF:x}:{(v4 & 0xFFFF) ^ 0xFFFF:x}",
    lambda v4: f"2001:0:{v4 >> 16:x}:{v4 & 0xFFFF:x}::f7f7:f7f7",
    lambda v4: f"2606:4700::5efe:{v4 >> 16:x}:{v4 & 0xFFFF:x}",
    lambda v4: f"2606:4700::100:5efe:{v4 >> 16:x}:{v4 & 0xFFFF:x}",
    lambda v4: f"2606:4700::200:5efe:{v4 >> 16:x}:{v4 & 0xFFFF:x}",
]


@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_ipv4_inside_ipv6_is_classified(wrap: Callable[[int], str]) -> None:
    for inner in ("169.254.169.254", "127.0.0.1", "192.0.0.192", "10.0.0.1"):
        word = classify(wrap(int(ip_address(inner))))
        assert word == classify(inner) or (inner == "10.0.0.1" and word != "public")


METADATA, LINK_LOCAL, PRIVATE, PUBLIC = "169.254.169.254", "169.254.7.7", "10.1.2.3", "93.184.216.34"


@pytest.mark.parametrize(
    ("policy", "admitted"),
    [
        (AddressPolicy(), {PUBLIC}),
        (AddressPolicy(allow_hosts=("a.example",)), {PUBLIC, PRIVATE}),
        (AddressPolicy(allow_hosts=("*.example",)), {PUBLIC, PRIVATE}),
        (AddressPolicy(allow_hosts=("A.Example:80",)), {PUBLIC, PRIVATE}),
        (AddressPolicy(allow_hosts=("a.example:81", "b.example", "*.a.example")), {PUBLIC}),
        (AddressPolicy(allow_networks=("10.0.0.0/8",)), {PUBLIC, PRIVATE}),
        (AddressPolicy(allow_networks=("0.0.0.0/0",)), {PUBLIC, PRIVATE, LINK_LOCAL}),
        (AddressPolicy("any_but_metadata"), {PUBLIC, PRIVATE}),
        (AddressPolicy("listed"), set()),
        (AddressPolicy("listed", allow_hosts=("a.example",)), {PUBLIC, PRIVATE}),
        (AddressPolicy("listed", allow_networks=("93.184.216.0/24",)), {PUBLIC}),
        (AddressPolicy(ports=frozenset({443})), set()),
    ],
)
def test_policy(policy: AddressPolicy, admitted: set[str]) -> None:
    for ip in (METADATA, LINK_LOCAL, PRIVATE, PUBLIC):
        if ip in admitted:
            policy.check("a.example", ip, 80)
            continue
        with pytest.raises(AddressRefused) as caught:
            policy.check("a.example", ip, 80)
        assert ip not in str(caught.value)


@asynccontextmanager
async def client_of(policy: AddressPolicy, **options: Any) -> AsyncIterator[httpx2.AsyncClient]:
    transport = GuardedTransport(policy, **options)
    async with httpx2.AsyncClient(transport=transport, trust_env=False, timeout=60) as client:
        yield client


@asynccontextmanager
async def answering(reply: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Run a server that answers each request with these bytes and closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def names(**table: Sequence[str]) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    async def look_up(host: str, port: int) -> Sequence[str]:
        return table[host.partition(".")[0]]

    return look_up


HOSTS = ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "mixed.example"]


@pytest.mark.parametrize("host", HOSTS)
async def test_a_rejected_address_is_not_connected(recording_server: RecordingServer, host: str) -> None:
    """A name is rejected if one of its addresses is rejected."""
    look_up = names(mixed=("93.184.216.34", "127.0.0.1")) if host == "mixed.example" else None
    async with client_of(AddressPolicy(), look_up=look_up) as client:
        with pytest.raises(httpx2.ConnectError) as caught:
            await client.get(f"http://{host}:{recording_server.port}/")
    assert isinstance(caught.value.__cause__, AddressRefused)
    assert recording_server.not_called


async def test_a_name_is_resolved_once(recording_server: RecordingServer) -> None:
    """DNS rebinding: a second lookup would return another address."""
    lookups = []

    async def look_up(host: str, port: int) -> Sequence[str]:
        lookups.append(host)
        return ["127.0.0.1"] if len(lookups) == 1 else ["127.0.0.2"]

    async with answering(OK) as port, client_of(LOOPBACK, look_up=look_up) as client:
        assert (await client.get(f"http://rebind.example:{port}/")).text == "ok"
    assert lookups == ["rebind.example"]


async def test_proxies_of_the_environment_are_not_used(
    recording_server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, recording_server.url)
    async with answering(OK) as port, client_of(LOOPBACK) as client:
        assert (await client.get(f"http://127.0.0.1:{port}/")).text == "ok"
    assert recording_server.not_called


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """Return the certificate of tls.example, and a server context that uses it."""
    folder = tmp_path_factory.mktemp("tls")
    context = self_signed(folder, "tls.example")
    return folder / FILE, context


@pytest.mark.parametrize(("host", "works"), [("tls.example", True), ("other.example", False)])
async def test_tls_verifies_the_name_over_the_checked_address(
    authority: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch, host: str, works: bool
) -> None:
    file, context = authority
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    shown = []
    context.sni_callback = lambda _socket, name, _context: shown.append(name)
    look_up = names(tls=("127.0.0.1",), other=("127.0.0.1",))
    async with answering(OK, context) as port, client_of(LOOPBACK, look_up=look_up) as client:
        if works:
            assert (await client.get(f"https://{host}:{port}/")).text == "ok"
        else:
            with pytest.raises(httpx2.ConnectError):
                await client.get(f"https://{host}:{port}/")
    assert shown == [host]
