"""Run the service: workers, a graceful end, an exit code that says it was one."""

import logging
import os
import signal
import socket
from collections.abc import Mapping

import uvicorn
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from bridge.app import create_app
from bridge.settings import PREFIX, Settings, load
from bridge.telemetry import configure_logging
from bridge.version import __version__

log = logging.getLogger("graphcap")


class Server(uvicorn.Server):
    """uvicorn's server, which also says where it can be reached."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then tell the address: the port may have been 0."""
        await super().startup(sockets)
        for server in self.servers:
            for listening in server.sockets:
                host, port = listening.getsockname()[:2]
                shown = f"[{host}]" if ":" in host else host
                log.info("graphcap bridge %s serves http://%s:%s (its API: /docs)", __version__, shown, port)


def application() -> ASGIApp:
    """The application of one worker: its settings and its log from the environment."""
    settings = load()
    configure_logging(settings.log, settings.log_level)
    return create_app(settings)


def serve(settings: Settings, overrides: Mapping[str, str]) -> int:
    """Serve until told to stop; the exit code is 0 after SIGTERM, 130 after Ctrl-C, 3 when it could not start.

    `overrides` are settings of the command line by name; workers read them from their environment.
    """
    os.environ.update({f"{PREFIX}{name.upper()}": value for name, value in overrides.items()})
    configure_logging(settings.log, settings.log_level)
    config = uvicorn.Config(
        "bridge.server:application",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="websockets-sansio",
        # Frames over our own limit are told so by name; only those over twice of it end the socket.
        ws_max_size=2 * settings.body_limit,
        # Pictures in base64 hardly shrink, and unpacking one of 100 KB costs 1.1 ms (measured with websockets 17.4).
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=max(1, round(settings.grace)),
    )
    # uvicorn raises SIGTERM again after a graceful end, which would make the exit code 143 (measured with 0.54).
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if settings.workers > 1:
        Multiprocess(config, sockets=[config.bind_socket()]).run()
        return 0
    server = Server(config)
    try:
        server.run()
    except KeyboardInterrupt:
        return 130
    return 0 if server.started else 3
