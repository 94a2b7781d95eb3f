"""Names to addresses, in threads that are strangers' own."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from threading import Thread

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class Names:
    """The system's resolver; `at_once` look-ups, each holding its place until it ends, wanted or not.

    The loop's own look-ups share two threads of the whole process (libuv keeps half of its four for slow work), so
    two names whose servers keep silent would make every configured provider wait.
    """

    def __init__(self, at_once: int = 64) -> None:
        self._free = asyncio.Semaphore(at_once)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a name in the resolver's order. Raises OSError."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Sequence[str]] = loop.create_future()

        def settle(outcome: Sequence[str] | OSError) -> None:
            self._free.release()
            if found.done():  # nobody waits any more
                return
            if isinstance(outcome, OSError):
                found.set_exception(outcome)
            else:
                found.set_result(outcome)

        def work() -> None:
            outcome = _looked_up(host, port)
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(settle, outcome)

        # A daemon: a resolver that hangs must not keep the process from ending.
        Thread(target=work, daemon=True, name="name look-up").start()
        return await found


def _looked_up(host: str, port: int) -> Sequence[str] | OSError:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return error
    except ValueError:  # UnicodeError is one: a label that is empty or too long
        return OSError("not a host name")
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
