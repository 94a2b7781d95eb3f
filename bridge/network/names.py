"""Resolve host names in a limited number of separate threads."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class Resolver:
    """The system's resolver in threads of its own: names that hang would fill the few threads of the event loop."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(64)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a name in the resolver's order. Raises OSError."""
        await self._slots.acquire()
        loop = asyncio.get_running_loop()
        result: Future[Sequence[str]] = Future()
        result.set_running_or_notify_cancel()

        def work() -> None:
            try:
                entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                result.set_result(list(dict.fromkeys(str(entry[4][0]) for entry in entries)))
            except OSError as error:
                result.set_exception(error)
            except ValueError:  # UnicodeError for an empty or overlong label
                result.set_exception(OSError("not a host name"))
            finally:
                with suppress(RuntimeError):  # the event loop is closed
                    loop.call_soon_threadsafe(self._slots.release)

        try:  # a daemon thread, because a lookup that hangs must not delay the end of the process
            Thread(target=work, daemon=True, name="name lookup").start()
        except RuntimeError as error:
            self._slots.release()
            raise OSError("no thread for the name lookup") from error
        return await asyncio.wrap_future(result)
