"""The processes of engines, found by the id of their parent, which is their last argument."""

import asyncio
import os
import select
from pathlib import Path

from providers.local_supervisor import Engines
from tests.guard import GUARD


def engines_of(parent: int) -> list[int]:
    """Return the ids of the engines that run as children of a process."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"providers.local_engine" in words and str(parent).encode() in words:
            pids.append(int(folder.name))
    return pids


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def wait_for_end(pid: int) -> None:
    """Block until a process has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], GUARD)[0], f"process {pid} still runs"
    finally:
        os.close(descriptor)


async def until(engines: Engines, **expected: object) -> None:
    """Wait until the supervisor reports an engine, and these values for every one: `state="stopped"`, `calls=0`."""
    async with asyncio.timeout(GUARD):
        while not (rows := await engines.report()) or any(row | expected != row for row in rows):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
