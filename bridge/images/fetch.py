"""Fetch an image from the internet for an untrusted caller.

Only http and https are used, without credentials, cookies, proxies and compression. Every connection's address is
checked. Time, size and speed are limited.
"""

import asyncio
import re
from contextlib import aclosing
from time import monotonic

import httpx2

from bridge.errors import AddressRefused, ImageUnreachable
from bridge.images.inspect import check_bytes
from bridge.network.policy import AddressPolicy
from bridge.network.transport import GuardedTransport, Resolve
from bridge.version import __version__

_HEADERS = {
    "accept": "image/avif,image/webp,image/png,image/jpeg,image/gif,image/*;q=0.8",
    "accept-encoding": "identity",
    "user-agent": f"graphcap-bridge/{__version__}",
}
_LONGEST_NAME = 253  # the limit of RFC 1035, because messages contain the host
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 5
_MIN_SPEED = 4096  # bytes per second
_FORBIDDEN = {"noai", "noimageai"}
_ROBOT = re.compile(r"\s*([A-Za-z0-9_-]+)\s*:")
# This robot, and rules with a value, which look like the name of a robot.
_ROBOTS = ("graphcap-bridge", "unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")


class Fetcher:
    """Fetch images over one connection pool.

    `timeout`: seconds for one image, redirects included. `quiet`: longest time in seconds without a byte. `warm_up`:
    seconds after which the average speed must be at least 4 KiB per second.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        timeout: float = 20.0,
        quiet: float = 10.0,
        warm_up: float = 5.0,
        max_connections: int = 64,
        look_up: Resolve | None = None,
    ) -> None:
        self._transport = GuardedTransport(policy, max_connections, look_up=look_up)
        self._timeout, self._quiet, self._warm_up = timeout, min(quiet, timeout), warm_up

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def fetch(self, url: str, max_bytes: int) -> bytes:
        """Fetch at most `max_bytes`. Raises AddressRefused, ImageUnreachable, ImageTooLarge."""
        target = _checked(url)
        try:
            async with asyncio.timeout(self._timeout):
                for _ in range(_MAX_REDIRECTS + 1):
                    result = await self._get(target, max_bytes)
                    if isinstance(result, bytes):
                        return result
                    target = result
        except TimeoutError as error:
            limit = f"{self._timeout:g} seconds"
            raise ImageUnreachable(f"{target.host} took longer than {limit} to send the image.") from error
        raise ImageUnreachable(f"{target.host} redirects more than {_MAX_REDIRECTS} times.")

    async def _get(self, url: httpx2.URL, max_bytes: int) -> bytes | httpx2.URL:
        """Send one request. Return the image, or the URL of a redirect."""
        try:
            async with aclosing(await self._send(url)) as response:
                if response.status_code in _REDIRECTS and "location" in response.headers:
                    return _moved(url, response.headers["location"])
                _check_response(url.host, response, max_bytes)
                return await self._body(url.host, response, max_bytes)
        except httpx2.TransportError as error:
            if isinstance(error.__cause__, AddressRefused):
                raise error.__cause__ from None
            raise ImageUnreachable(_reason(url.host, error)) from error

    async def _send(self, url: httpx2.URL) -> httpx2.Response:
        """Send the request. The transport is used directly, because a client would keep cookies and log the URL."""
        waits = {"connect": self._quiet, "read": self._quiet, "write": self._quiet, "pool": self._timeout}
        request = httpx2.Request("GET", url, headers=_HEADERS, extensions={"timeout": waits})
        try:
            return await self._transport.handle_async_request(request)
        except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
            # Retry: the server may have closed the pooled connection (RFC 9112, 9.3.1).
            return await self._transport.handle_async_request(request)

    async def _body(self, host: str, response: httpx2.Response, max_bytes: int) -> bytes:
        parts = bytearray()
        began = monotonic()
        async for part in response.aiter_raw():
            parts += part
            check_bytes(len(parts), max_bytes)
            spent = monotonic() - began
            if spent > self._warm_up and len(parts) < _MIN_SPEED * spent:
                raise ImageUnreachable(f"{host} sends the image at less than {_MIN_SPEED} bytes per second.")
        return bytes(parts)


def _checked(url: str) -> httpx2.URL:
    """Parse and check a caller's URL. Raises ImageUnreachable."""
    try:
        parsed = httpx2.URL(url.strip())
    except (httpx2.InvalidURL, UnicodeError) as error:
        raise ImageUnreachable("The image URL is malformed.") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ImageUnreachable("The image URL must begin with http:// or https://.")
    if "%" in parsed.host or len(parsed.raw_host) > _LONGEST_NAME:
        raise ImageUnreachable("The host of the image URL is malformed.")
    if parsed.port is not None and not 0 < parsed.port < 65536:
        raise ImageUnreachable("The port of the image URL is out of range.")
    if parsed.userinfo:
        raise ImageUnreachable("The image URL must not contain a user name or password.")
    return parsed


def _moved(url: httpx2.URL, location: str) -> httpx2.URL:
    try:
        return _checked(str(url.join(location)))
    except (httpx2.InvalidURL, ValueError) as error:
        raise ImageUnreachable(f"{url.host} redirects to a malformed URL.") from error


def _check_response(host: str, response: httpx2.Response, max_bytes: int) -> None:
    """Check the status and headers of a response before its body is read. Raises ImageUnreachable or ImageTooLarge."""
    headers = response.headers
    if response.status_code != 200:
        raise ImageUnreachable(f"{host} returned status {response.status_code} instead of the image.")
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise ImageUnreachable(f"{host} sends the image with a content encoding, which is not accepted.")
    if any(map(_forbids, headers.get_list("x-robots-tag"))):
        raise ImageUnreachable(f"{host} does not allow AI systems to use this image (X-Robots-Tag).")
    length = headers.get("content-length", "")
    if length.isascii() and length.isdigit():
        check_bytes(int(length[:20]), max_bytes)


def _forbids(robots_tag: str) -> bool:
    """Return whether an X-Robots-Tag header forbids AI use to all robots or to this one."""
    robot = _ROBOT.match(robots_tag)
    if robot and robot[1].lower() not in _ROBOTS:
        return False
    rules = robots_tag[robot.end() :] if robot else robots_tag
    return not _FORBIDDEN.isdisjoint(rule.strip().lower() for rule in rules.split(","))


def _reason(host: str, error: httpx2.TransportError) -> str:
    if isinstance(error, httpx2.TimeoutException):
        return f"{host} did not respond in time."
    if isinstance(error, httpx2.ConnectError):
        return f"No connection to {host}: unknown host name, connection refused, or invalid certificate."
    return f"{host} closed the connection before the image was complete."
