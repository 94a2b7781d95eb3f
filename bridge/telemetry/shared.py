"""Figures that several workers share: files in memory, one set a worker, summed by whoever is asked for them.

prometheus_client's own way names the files by process: each restart would add a set, and the figures of the dead
would have to be tidied up. Here a worker takes the first free *seat* of the directory. The lock that marks it goes
with the process, however that ends; the next worker takes the seat and counts on from what stands there, so that no
counter ever falls and nothing grows.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path

VARIABLE = "BRIDGE_METRICS_DIRECTORY"
"""Tells workers where the directory is; set by who starts them."""
MEMORY = Path("/dev/shm")  # noqa: S108 (memory, and a fresh private directory in it)
_PREFIX = "graphcap-metrics-"
_FRESH_SECONDS = 60.0  # a directory of this age may not be locked yet


@contextmanager
def directory(memory: Path = MEMORY) -> Iterator[bool]:
    """A fresh private directory for the workers that are started inside, and removed at the end.

    Tells whether there is one: where `memory` takes no files, each worker counts for itself.
    """
    try:
        _sweep(memory)
        made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=memory))
        held = _lock(made / "owner.lock")
    except OSError:
        yield False
        return
    os.environ[VARIABLE] = str(made)
    try:
        yield True
    finally:
        del os.environ[VARIABLE]
        shutil.rmtree(made, ignore_errors=True)
        if held is not None:
            os.close(held)


def _sweep(memory: Path) -> None:
    """Remove what services left behind that were killed before they could."""
    for left in memory.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another service sweeps as well, and was first
            if time.time() - left.stat().st_mtime >= _FRESH_SECONDS and os.access(left, os.W_OK):
                _remove_unless_held(left)


def _remove_unless_held(left: Path) -> None:
    locks = list(left.glob("*.lock"))
    with ExitStack() as opened:
        for one in locks:
            descriptor = os.open(one, os.O_RDWR)
            opened.callback(os.close, descriptor)
            if not _try(descriptor):
                return
        if locks:
            shutil.rmtree(left, ignore_errors=True)


def take_seat(shared: Path) -> int:
    """The number of a seat that nobody else holds, for as long as this process lives."""
    for seat in count():
        if _lock(shared / f"{seat}.lock") is not None:
            # What a gauge said goes with the process it spoke of.
            for gauge in shared.glob(f"gauge_*_{seat}.db"):
                gauge.unlink(missing_ok=True)
            return seat
    raise AssertionError("unreachable")


def files(shared: Path) -> list[str]:
    """The files that count: all counters ever, and the gauges of those who live."""
    empty = [seat for seat in _seats(shared) if _is_empty(shared, seat)]
    gone = {path for seat in empty for path in shared.glob(f"gauge_*_{seat}.db")}
    # One that was made this moment holds nothing yet, and prometheus_client 0.26 cannot read that.
    return [str(path) for path in sorted(shared.glob("*.db")) if path not in gone and path.stat().st_size]


def _seats(shared: Path) -> list[str]:
    return [path.stem for path in shared.glob("*.lock") if path.stem.isdigit()]


def _is_empty(shared: Path, seat: str) -> bool:
    held = _lock(shared / f"{seat}.lock")
    if held is not None:
        os.close(held)
    return held is not None


def _lock(path: Path) -> int | None:
    """A descriptor that holds the lock until it is closed, None when another one does."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if _try(descriptor):
        return descriptor
    os.close(descriptor)
    return None


def _try(descriptor: int) -> bool:
    import fcntl  # which Windows does not have, nor /dev/shm

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
