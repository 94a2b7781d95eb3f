"""Settings of Python and glibc for a process that captions many images."""

import ctypes
import gc
import sys

_GC_THRESHOLD = 5_000
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT_BYTES = 64 * 1024 * 1024


def tune_memory() -> None:
    """Search for reference cycles less often, and let glibc keep freed memory for the next image.

    Call this in a process that the bridge owns, when it has started: no search looks at the objects that exist now. By
    default, Python searches after 700 new objects, several times per caption. By default, glibc returns the buffers of
    an image of 1 MB to the kernel after each request and has to obtain them again (docs/performance.md).
    """
    gc.set_threshold(_GC_THRESHOLD)
    gc.freeze()
    set_malloc_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if set_malloc_option is not None:
        set_malloc_option(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        set_malloc_option(_M_MMAP_THRESHOLD, _KEPT_BYTES // 4)
