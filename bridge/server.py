"""Run the service: workers, a graceful end, an exit code that says it was one."""

import asyncio
import errno
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from bridge.api.drain import Drain
from bridge.app import create_app
from bridge.config import doubts
from bridge.process import let_open, spare_memory
from bridge.receiving.doors import announce, let_nobody_in, listen
from bridge.settings import PREFIX, Settings, load
from bridge.telemetry import configure_logging, shared

log = logging.getLogger("graphcap")
_ECHO_SECONDS = 2.0
_CLOSE_SECONDS = 5  # for connections to close, after all work has ended
_TURN_SECONDS = 0.05
_HEARD_SECONDS = 1.0  # for what has been sent to be heard, at the end
FAILURE = 3
"""uvicorn's exit code of a process that could not start."""


class Server(uvicorn.Server):
    """uvicorn's server, which also says where it can be reached, and answers whoever has reached it before it ends."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then tell the address."""
        await super().startup(sockets)
        announce(sockets or [])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let nobody in any more, refuse those who are in already, then close.

        Closing at once resets every connection that the system has made and uvicorn has not answered: a proxy cannot
        know that nothing was begun (measured with 0.54: each of 16 busy callers).
        """
        for one in sockets or []:
            let_nobody_in(one)
        loop = asyncio.get_running_loop()
        end = loop.time() + _HEARD_SECONDS
        await asyncio.sleep(_TURN_SECONDS)
        connections = self.server_state.connections  # uvicorn tells nobody when one of them changes
        while loop.time() < end and any(getattr(one, "unheard", False) for one in connections):  # noqa: ASYNC110
            await asyncio.sleep(_TURN_SECONDS)
        await super().shutdown(sockets)


def _cannot_listen(settings: Settings, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {settings.port} is in use; choose another with --port or {PREFIX}PORT."
    return (
        f"Cannot listen on {settings.host}, port {settings.port}: {error.strerror}. "
        f"Choose another with --host and --port, or {PREFIX}HOST and {PREFIX}PORT."
    )


def application() -> ASGIApp:
    """The application of one worker: its settings and its log from the environment."""
    spare_memory()
    settings = load()
    configure_logging(settings.log, settings.log_level)
    drain = Drain()
    if threading.current_thread() is threading.main_thread():
        end_in_order(drain, settings.grace, _ECHO_SECONDS if settings.workers > 1 else 0)
    return create_app(settings, drain)


def end_in_order(drain: Drain, grace: float, echo: float) -> None:
    """At SIGTERM and SIGINT let what is under way end first, then stop as uvicorn does; a second one hurries.

    One of several workers that is told as a member of its process group is told again by its supervisor: what comes
    within `echo` seconds of the first is no second one. uvicorn by itself closes sockets and stops listening at once,
    so nobody would hear that the service is not ready (measured with 0.54). It has installed its own handlers by the
    time it loads the application.
    """
    loop = asyncio.get_running_loop()
    ending: list[asyncio.Task[None]] = []
    began = 0.0

    async def end(stop: Callable[[], None]) -> None:
        log.info("the service ends: it takes nothing new, and gives what is under way %g seconds", grace)
        await drain.run(grace)
        stop()

    def begin(stop: Callable[[], None]) -> None:
        nonlocal began
        if not ending:
            began = loop.time()
            ending.append(loop.create_task(end(stop)))
        elif loop.time() - began < echo:
            log.debug("told again that the service ends")
        elif not drain.over:
            drain.hurry()
        else:
            stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        stop: Any = signal.getsignal(number)
        signal.signal(number, lambda *given, stop=stop: loop.call_soon_threadsafe(begin, partial(stop, *given)))


def serve(settings: Settings, overrides: Mapping[str, str]) -> int:
    """Serve until told to stop; the exit code is 0 after SIGTERM, 130 after Ctrl-C, 2 when the address cannot be had,
    3 when the service could not start.

    `overrides` are settings of the command line by name; workers read them from their environment.
    """
    os.environ.update({f"{PREFIX}{name.upper()}": value for name, value in overrides.items()})
    configure_logging(settings.log, settings.log_level)
    short = let_open(settings.max_in_flight)
    absent = "" if settings.workspace.is_dir() else f"There is no directory {str(settings.workspace)!r}: no workspace."
    for doubt in filter(None, (*doubts(), short, absent)):
        log.warning(doubt)
    config = uvicorn.Config(
        "bridge.server:application",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        log_config=None,
        access_log=False,
        server_header=False,
        http="bridge.receiving:Receiver",
        ws="bridge.receiving:Socket",
        # Frames over our own limit are told so by name; only those over twice of it end the socket.
        ws_max_size=2 * settings.body_limit,
        # Pictures in base64 hardly shrink, and unpacking one of 100 KB costs 1.1 ms (measured with websockets 17.4).
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=_CLOSE_SECONDS,
    )
    try:
        sockets = listen(settings.host, settings.port)
    except OSError as error:
        log.error(_cannot_listen(settings, error))
        return 2
    return _several(config, sockets) if settings.workers > 1 else _one(config, sockets)


def _several(config: uvicorn.Config, sockets: list[socket.socket]) -> int:
    """Several workers; who calls before they are ready waits for them."""
    with shared.directory() as adds_up:
        if not adds_up:
            log.warning("%s takes no files: /metrics tells the figures of whichever worker is asked.", shared.MEMORY)
        return _supervised(config, sockets)


class Supervisor(Multiprocess):
    """uvicorn's supervisor, which also says whom it has replaced: uvicorn's own word is at a level that is silenced."""

    def keep_subprocess_alive(self) -> None:
        """Replace the workers that have ended, or hang."""
        before = list(self.processes)
        super().keep_subprocess_alive()
        for old, new in zip(before, self.processes, strict=True):
            if new is not old:
                ended = f"worker {old.pid} has ended (exit code {old.exitcode}), and with it what it carried"
                log.warning("%s; %s takes its place", ended, new.pid)


def _supervised(config: uvicorn.Config, sockets: list[socket.socket]) -> int:
    supervisor = Supervisor(config, sockets)
    for one in sockets:
        one.listen(config.backlog)
    announce(sockets)
    supervisor.run()
    return FAILURE if any(one.exitcode == FAILURE for one in supervisor.processes) else 0


def _one(config: uvicorn.Config, sockets: list[socket.socket]) -> int:
    # uvicorn raises SIGTERM again after a graceful end, which would make the exit code 143 (measured with 0.54).
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    server = Server(config)
    try:
        server.run(sockets)
    except KeyboardInterrupt:
        return 130
    return 0 if server.started else FAILURE
