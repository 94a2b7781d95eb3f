"""Fetching images from slow, broken, endless and redirecting servers."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bridge.errors import AddressRefused, ImageTooLarge, ImageUnreachable
from bridge.images.fetch import Fetcher
from bridge.images.limits import ImageLimits
from bridge.images.sources import Access, load
from bridge.network.policy import AddressPolicy
from tests.images.samples import photo, saved
from tests.servers import RecordingServer

IMAGE = saved(photo(64, 48), "JPEG")
MOST = 1_000_000
Reply = bytes | Callable[[asyncio.StreamWriter], object]


def reply(body: bytes = IMAGE, status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class Site:
    """A server that answers each path with its reply and records the request headers."""

    port: int
    requests: list[str]

    def url(self, path: str = "/", host: str = "images.example") -> str:
        return f"http://{host}:{self.port}{path}"


@asynccontextmanager
async def site(pages: dict[str, Reply]) -> AsyncIterator[Site]:
    requests: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                requests.append(head)
                page = pages[head.split()[1]]
                if isinstance(page, bytes):
                    writer.write(page)
                else:
                    await page(writer)  # type: ignore[misc]
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Site(server.sockets[0].getsockname()[1], requests)


async def loopback(host: str, port: int) -> Sequence[str]:
    if host.startswith("unknown"):
        raise OSError("no such name")
    return ["127.0.0.1"]


@asynccontextmanager
async def fetcher(*hosts: str, **options: float) -> AsyncIterator[Fetcher]:
    """Open a fetcher that resolves every name to loopback and allows only these hosts."""
    policy = AddressPolicy(allow_hosts=hosts or ("images.example",))
    image_fetcher = Fetcher(policy, look_up=loopback, **options)  # type: ignore[arg-type]
    yield image_fetcher
    await image_fetcher.aclose()


async def fetch(page: Reply, **options: float) -> bytes:
    async with site({"/": page}) as pages, fetcher(**options) as image_fetcher:
        return await image_fetcher.fetch(pages.url(), MOST)


async def test_an_image_is_fetched() -> None:
    async with site({"/a.jpg?key=secret": reply()}) as pages, fetcher() as image_fetcher:
        source = await load("url", pages.url("/a.jpg?key=secret#x"), Access(Path(), image_fetcher, ImageLimits()))
    assert source.data == IMAGE
    assert (source.origin, source.header.media_type) == ("url", "image/jpeg")


async def test_requests_contain_a_user_agent_and_no_cookies() -> None:
    pages: dict[str, Reply] = {"/": reply(set_cookie="id=1"), "/2": reply()}
    async with site(pages) as shown, fetcher() as image_fetcher:
        await image_fetcher.fetch(shown.url(), MOST)
        await image_fetcher.fetch(shown.url("/2"), MOST)
    first, second = (head.lower() for head in shown.requests)
    assert "user-agent: graphcap-bridge/" in first
    assert "accept: image/" in first
    assert "accept-encoding: identity" in first
    assert "cookie" not in second
    assert "referer" not in second


@pytest.mark.parametrize(
    "where", ["http://redirect.example:{port}/", "//redirect.example:{port}/", "http://127.0.0.1:{port}/"]
)
async def test_the_address_of_a_redirect_is_checked(recording_server: RecordingServer, where: str) -> None:
    page = reply(b"", "302 Found", location=where.format(port=recording_server.port))
    with pytest.raises(AddressRefused):
        await fetch(page)
    assert recording_server.not_called


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "must begin with http"),
        ("ftp://images.example/a.jpg", "must begin with http"),
        ("data:image/png;base64,AAAA", "must begin with http"),
        ("http://user:secret@images.example/a.jpg", "password"),
        ("http://images.example:99999/", "port"),
        ("http://[::1", "malformed"),
        ("http://a\r\nhost: b/", "malformed"),
    ],
)
async def test_urls_that_are_rejected(url: str, words: str) -> None:
    async with fetcher() as image_fetcher:
        with pytest.raises(ImageUnreachable, match=words) as caught:
            await image_fetcher.fetch(url, MOST)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (reply(b"no", "404 Not Found"), "status 404"),
        (reply(b"", "302 Found"), "status 302"),
        (reply(b"", "302 Found", location="/"), "redirects more than 5 times"),
        (reply(b"", "302 Found", location="file:///etc/passwd"), "must begin with http"),
        (reply(b"", "302 Found", location="http://a:b@images.example/"), "password"),
        (reply(b"", "302 Found", location="http://[/"), "malformed"),
        (reply(gzip.compress(IMAGE), content_encoding="gzip"), "content encoding"),
        (b"HTTP/9 nonsense\r\n\r\n", "before the image was complete"),
    ],
)
async def test_responses_that_are_rejected(page: bytes, words: str) -> None:
    with pytest.raises(ImageUnreachable, match=words):
        await fetch(page)


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        await writer.drain()


async def drip(writer: asyncio.StreamWriter) -> None:
    """Send one byte at a time, endlessly."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def silent(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("page", "limits", "error", "words"),
    [
        (endless, {}, ImageTooLarge, "larger than"),
        (drip, {"timeout": 0.8, "warm_up": 60}, ImageUnreachable, "longer than"),
        (drip, {"warm_up": 0.1}, ImageUnreachable, "bytes per second"),
        (silent, {"quiet": 0.1}, ImageUnreachable, "did not respond"),
        (reply()[:-10], {"quiet": 0.2}, ImageUnreachable, "did not respond"),
    ],
)
async def test_size_and_time_limits(page: Reply, limits: dict[str, float], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        await fetch(page, **limits)


@pytest.mark.parametrize(
    ("tag", "allowed"),
    [
        ("noai", False),
        ("unavailable_after: 25 Jun 2030 15:00:00 PST, noimageai", False),
        ("otherbot: noindex, noai", True),
        ("graphcap-bridge: noindex, noai", False),
        ("noindex, nofollow", True),
    ],
)
async def test_x_robots_tag_is_obeyed(tag: str, allowed: bool) -> None:
    page = reply(x_robots_tag=tag)
    if allowed:
        assert await fetch(page) == IMAGE
    else:
        with pytest.raises(ImageUnreachable, match="does not allow AI"):
            await fetch(page)
