"""Run the service: listening sockets, worker processes, graceful shutdown, exit codes."""

import asyncio
import errno
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from bridge.api.connection import STALL_SECONDS
from bridge.api.drain import Drain
from bridge.config.load import startup_warnings
from bridge.http_protocol import RequestProtocol
from bridge.memory import tune_memory
from bridge.settings import PREFIX, Settings, load
from bridge.telemetry.logging import configure_logging
from bridge.telemetry.multiprocess import forget_worker, metrics_directory
from bridge.version import __version__
from providers.local_supervisor import EngineSettings
from providers.local_supervisor import Supervisor as EngineSupervisor

log = logging.getLogger("graphcap")
CLOSE_SECONDS = 5  # for connections to close after all work has ended
FIRST_REQUEST_SECONDS = 1.0  # for a connection that was accepted before the shutdown to send its first request
_BACKLOG = 2048
_HANG_SECONDS = 30  # until a worker that does not respond is replaced; uvicorn's 5 end healthy ones of a busy machine
_POLL_SECONDS = 0.05
_DESCRIPTORS_PER_REQUEST = 3  # file descriptors for the client, the provider, and an image file or URL
_DESCRIPTORS_RESERVED = 256
INTERRUPTED = 130


class Server(uvicorn.Server):
    """uvicorn's server, which also logs its address, and answers accepted connections before it closes them."""

    interrupted = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Remember SIGINT for the exit code.

        After the shutdown, uvicorn raises the signal again. A process that inherited SIG_IGN ignores it.
        """
        self.interrupted = self.interrupted or sig == signal.SIGINT
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in sockets or []:
            log_address(listening)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, answer the first request of every accepted connection, then close them all.

        uvicorn would reset or close these connections. A proxy could not know whether a POST on them had begun, and so
        could not send it again.
        """
        accepted = []
        for listening in sockets or []:
            with suppress(OSError):  # the accept queue is empty
                while True:
                    accepted.append(listening.accept()[0])
        for server in self.servers:
            server.close()
        for listening in sockets or []:
            listening.close()
        loop = asyncio.get_running_loop()
        protocol = partial(RequestProtocol, self.config, self.server_state, self.lifespan.state)
        for connection in accepted:
            with suppress(OSError):
                await loop.connect_accepted_socket(protocol, connection)
        end = loop.time() + FIRST_REQUEST_SECONDS
        while loop.time() < end and any(  # noqa: ASYNC110 (connections have no event)
            isinstance(connection, RequestProtocol) and connection.cycle is None
            for connection in self.server_state.connections
        ):
            await asyncio.sleep(_POLL_SECONDS)
        await super().shutdown(sockets)


class Supervisor(Multiprocess):
    """uvicorn's supervisor of worker processes. It also logs replaced workers and remembers SIGINT."""

    interrupted = False

    def handle_int(self) -> None:
        self.interrupted = True
        super().handle_int()

    def terminate_all(self) -> None:
        """Stop all workers. Close the sockets, so that connections are refused after the last worker has stopped."""
        super().terminate_all()
        for listening in self.sockets:
            listening.close()

    def handle_signals(self) -> None:
        """Handle the signals that were received. SIGHUP replaces all workers, and SIGTTOU ends one."""
        before = list(self.processes)
        super().handle_signals()
        for worker in before:
            if worker not in self.processes:
                forget_worker(worker.pid or 0)

    def keep_subprocess_alive(self) -> None:
        """Replace workers that have ended or do not respond."""
        before = list(self.processes)
        super().keep_subprocess_alive()
        for old, new in zip(before, self.processes, strict=True):
            if new is not old:
                forget_worker(old.pid or 0)
                message = "worker %s ended with exit code %s, and its requests with it; worker %s replaces it"
                log.warning(message, old.pid, old.exitcode, new.pid)


def serve(settings: Settings, overrides: Mapping[str, str]) -> int:
    """Serve until a signal arrives, and return the exit code.

    0 after SIGTERM, 130 after SIGINT, 2 if the address cannot be used, 3 if the service could not start. `overrides`:
    settings from the command line by name. Workers read them from their environment.
    """
    os.environ.update({f"{PREFIX}{name.upper()}": value for name, value in overrides.items()})
    configure_logging(settings.log, settings.log_level)
    for warning in (*startup_warnings(), *settings_warnings(settings)):
        log.warning(warning)
    raise_file_limit(settings.max_in_flight)
    config = uvicorn_config(settings)
    try:
        listening = listen(settings.host.strip("[]"), settings.port)
    except OSError as error:
        reason = f"Cannot listen on {settings.host}, port {settings.port}: {error.strerror}"
        if error.errno == errno.EADDRINUSE:
            reason = f"Port {settings.port} is in use"
        log.error(f"{reason}. Choose another address with --host and --port, or {PREFIX}HOST and {PREFIX}PORT.")
        return 2
    with metrics_directory(settings.workers):
        if settings.workers == 1:
            return _serve_in_process(config, listening)
        return _serve_with_workers(config, listening, EngineSettings(settings.local_idle, settings.local_gpu_layers))


def uvicorn_config(settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        factory=True,
        workers=settings.workers,
        backlog=_BACKLOG,
        log_config=None,
        access_log=False,
        server_header=False,
        http=RequestProtocol,
        ws="websockets-sansio",
        # A message over the body limit gets an error event. One over twice the limit closes the WebSocket.
        ws_max_size=2 * settings.body_limit,
        # Compression hardly shrinks base64, and inflating 100 KB costs 1.1 ms (measured with websockets 17.4).
        ws_per_message_deflate=False,
        timeout_keep_alive=settings.keep_alive,
        timeout_graceful_shutdown=CLOSE_SECONDS,
        timeout_worker_healthcheck=_HANG_SECONDS,
    )


def listen(host: str, port: int) -> socket.socket:
    """Listen on the address before slow imports. For a host name, use its IPv4 address. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    if sys.platform == "linux":
        # Accepted sockets inherit the option: the kernel resets a connection whose client takes no data for this time.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STALL_SECONDS * 1000))
    return listening


def settings_warnings(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each setting that may be a mistake."""
    if not settings.workspace.is_dir():
        yield f"There is no directory {str(settings.workspace)!r}: the service runs without a workspace."
    if not settings.keys and not settings.loopback:
        yield f"The service listens on {settings.host} and has no API keys: any caller can use it ({PREFIX}API_KEYS)."
    if "*" in settings.allowed_hosts and not settings.keys:
        yield f"{PREFIX}ALLOWED_HOSTS is * and there are no API keys: a web page can use this service by DNS rebinding."
    if "*" in settings.cors_origins:
        yield f"{PREFIX}CORS_ORIGINS is *: every web page can use this service from its visitor's browser."


def raise_file_limit(max_in_flight: int) -> None:
    """Raise this process's limit of open files to what the requests need. Log a warning if it stays too low."""
    needed = _DESCRIPTORS_PER_REQUEST * max_in_flight + _DESCRIPTORS_RESERVED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        text = f"This process may open {allowed} files, and {PREFIX}MAX_IN_FLIGHT needs {needed}"
        log.warning(f"{text}. Raise the limit (ulimit -n), or lower the setting.")


def _serve_in_process(config: uvicorn.Config, listening: socket.socket) -> int:
    # After a shutdown uvicorn raises the signals again, which would end the process with 143 or a traceback.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    server = Server(config)
    server.run([listening])
    return INTERRUPTED if server.interrupted else 0


def _serve_with_workers(config: uvicorn.Config, listening: socket.socket, engine_settings: EngineSettings) -> int:
    engines = EngineSupervisor(engine_settings)
    config.app = partial(application, engines.control)  # the workers inherit the socket
    supervisor = Supervisor(config, [listening])
    log_address(listening)
    try:
        supervisor.run()
    finally:
        engines.close()
    if any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
        return STARTUP_FAILURE
    return INTERRUPTED if supervisor.interrupted else 0


def log_address(listening: socket.socket) -> None:
    """Log the address of the service, with the real port number if port 0 was requested."""
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    log.info("graphcap bridge %s serves http://%s:%s", __version__, shown, port)


def application(control: socket.socket | None = None) -> ASGIApp:
    """Create the application of one worker. `control`: the socket of the supervisor of embedded engines, if any."""
    from bridge.app import create_app  # prometheus_client reads what metrics_directory has set
    from bridge.captioning.services import service_engines

    settings = load()
    configure_logging(settings.log, settings.log_level)
    RequestProtocol.header_timeout = settings.head_timeout
    drain = Drain()
    drain_on_signals(drain, settings.grace)
    tune_memory()
    return create_app(settings, drain, service_engines(settings, control))


def drain_on_signals(drain: Drain, grace: float) -> None:
    """At SIGTERM or SIGINT, shut down gracefully, then call uvicorn's handler, which must be installed already.

    A SIGINT during the shutdown ends the grace period. A second SIGTERM has no effect: the supervisor may send one too.
    """
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[None]] = []

    async def drain_and_stop(stop: Any) -> None:
        log.info("shutting down: new work is refused, running requests get %g seconds", grace)
        await drain.run(grace)
        stop()

    def begin(number: int, stop: Any) -> None:
        if not tasks:
            tasks.append(loop.create_task(drain_and_stop(stop)))
        elif number == signal.SIGINT:
            drain.end_grace_period()

    def handle(number: int, frame: FrameType | None, *, stop: Any) -> None:
        loop.call_soon_threadsafe(begin, number, partial(stop, number, frame))

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, partial(handle, stop=signal.getsignal(number)))
