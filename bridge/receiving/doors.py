"""The sockets that the service listens on: opened before anything is loaded, shut before it ends."""

import ctypes
import errno
import logging
import socket
import struct
import sys
from contextlib import suppress
from typing import Any

from bridge.version import __version__

log = logging.getLogger("graphcap")
_ATTACH_FILTER = 26  # SO_ATTACH_FILTER of linux/socket.h


def listen(host: str, port: int) -> list[socket.socket]:
    """A socket on every address that the host has here, bound before anything is loaded. Raises OSError."""
    bound: list[socket.socket] = []
    absent: OSError | None = None
    places = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, _, _, _, address in dict.fromkeys(places):
        try:
            bound.append(_bound(family, address))
        except OSError as error:
            # "localhost" names ::1 where IPv6 is off, too.
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
            absent = error
    if absent is not None and not bound:
        raise absent
    return bound


def _bound(family: int, address: Any) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind(address)
    return made


def announce(sockets: list[socket.socket]) -> None:
    """Log the addresses: the port may have been 0."""
    for one in sockets:
        host, port = one.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        log.info("graphcap bridge %s serves http://%s:%s (its API: /docs)", __version__, shown, port)


def let_nobody_in(listening: socket.socket) -> None:
    """Drop what comes to a listening socket, so that nobody waits in its queue when it is closed.

    Who knocks meanwhile knocks again after a second, and is refused. Where the system cannot do this, he may be reset.
    """
    nothing = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # one instruction of BPF: keep 0 bytes
    if sys.platform == "linux":
        with suppress(OSError):
            program = struct.pack("HL", 1, ctypes.addressof(nothing))
            listening.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)
