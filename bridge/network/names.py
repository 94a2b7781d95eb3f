"""Resolve host names in threads of their own, bounded in number."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from threading import Thread

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class Resolver:
    """The system's resolver with at most `concurrency` lookups, each occupying its slot until it ends.

    The event loop's own lookups share a few threads of the whole process, so that a few names with silent name servers
    would block every configured provider.
    """

    def __init__(self, concurrency: int = 64) -> None:
        self._slots = asyncio.Semaphore(concurrency)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a name in the resolver's order. Raises OSError."""
        await self._slots.acquire()
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Sequence[str]] = loop.create_future()

        def finish(outcome: Sequence[str] | OSError) -> None:
            self._slots.release()
            if result.done():  # cancelled
                return
            if isinstance(outcome, OSError):
                result.set_exception(outcome)
            else:
                result.set_result(outcome)

        def work() -> None:
            outcome = _look_up(host, port)
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(finish, outcome)

        # A daemon thread: a lookup that hangs must not keep the process from ending.
        Thread(target=work, daemon=True, name="name lookup").start()
        return await result


def _look_up(host: str, port: int) -> Sequence[str] | OSError:
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return error
    except ValueError:  # such as UnicodeError: an empty or overlong label
        return OSError("not a host name")
    return list(dict.fromkeys(str(entry[4][0]) for entry in entries))
