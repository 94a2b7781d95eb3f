"""Listening sockets and the limit of open files."""

import errno
import resource
import socket
import sys
from contextlib import suppress

from bridge.settings import PREFIX, Settings

BACKLOG = 2048
_STALL_SECONDS = 30


def listen(host: str, port: int) -> list[socket.socket]:
    """Listen on every address of the host, before anything slow is loaded. Raises OSError."""
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    addresses = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, _, _, _, address in dict.fromkeys(addresses):
        try:
            sockets.append(socket.create_server(address[:2], family=family, backlog=BACKLOG))
        except OSError as error:
            # "localhost" includes ::1 also where IPv6 is off.
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
            missing = error
    if missing is not None and not sockets:
        raise missing
    if sys.platform == "linux":
        for listening in sockets:
            # Accepted sockets inherit it: the kernel resets a connection whose client takes no data for that long.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STALL_SECONDS * 1000)
    return sockets


def explain(error: OSError, settings: Settings) -> str:
    """Return why the address of the settings cannot be used, and what to change."""
    if error.errno == errno.EADDRINUSE:
        return f"Port {settings.port} is in use. Choose another with --port or {PREFIX}PORT."
    return (
        f"Cannot listen on {settings.host}, port {settings.port}: {error.strerror}. "
        f"Choose another with --host and --port, or {PREFIX}HOST and {PREFIX}PORT."
    )


def accept_queued(listening: socket.socket) -> list[socket.socket]:
    """Accept every connection in the queue of a non-blocking listening socket."""
    accepted = []
    with suppress(OSError):
        while True:
            accepted.append(listening.accept()[0])
    return accepted


def raise_descriptor_limit(needed: int) -> int:
    """Raise the soft limit of open files to `needed`, as far as the hard limit allows; return the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return needed
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft
