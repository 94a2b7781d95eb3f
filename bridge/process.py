"""What one process uses of its machine: open files, and memory."""

import ctypes
import gc
import resource
import sys
import threading
import time

from bridge.settings import PREFIX

_TRIM_SECONDS = 10.0
_DESCRIPTORS_EACH = 3  # the caller's connection, the provider's, and a picture's file or address
_DESCRIPTORS_REST = 256
# Python's 700 is reached several times in each caption, mostly by what is still in use (docs/performance.md).
_GARBAGE = 5_000


def let_open(requests: int) -> str | None:
    """Let the process open what so many requests need, as far as it may; what to tell when that is not enough."""
    return raise_descriptors(_DESCRIPTORS_EACH * requests + _DESCRIPTORS_REST)


def raise_descriptors(wanted: int) -> str | None:
    """Let the process open so many files and sockets, as far as it may; what to tell when that is not enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return None
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed >= wanted:
        return None
    return (
        f"This process may open {allowed} files; {PREFIX}MAX_IN_FLIGHT needs {wanted}. "
        "Raise the limit (ulimit -n), or lower the setting."
    )


def spare_memory() -> None:
    """Look for garbage less often, and give back what is free."""
    gc.set_threshold(_GARBAGE)
    threading.Thread(target=_give_back_memory, daemon=True, name="memory").start()


def _give_back_memory() -> None:
    """Return what is free to the system now and then: glibc keeps what decoding freed, hundreds of MB after a burst.

    Smaller thresholds for its allocator do the same for a fifth more CPU for each large picture (docs/performance.md).
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    while trim is not None:
        time.sleep(_TRIM_SECONDS)
        trim(0)
