"""The directory in which several workers keep their metrics: prometheus_client's multiprocess mode.

prometheus_client reads the environment when it is imported, so `serve` enters `metrics_directory` before the import.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger("graphcap")
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_MEMORY = Path("/dev/shm")  # noqa: S108 (a fresh private directory in memory)


@contextmanager
def metrics_directory(workers: int) -> Iterator[None]:
    """Provide the directory that several workers share: PROMETHEUS_MULTIPROC_DIR, or a new one in memory.

    If it is not writable, a warning is logged, and each worker reports only its own metrics.
    """
    configured = os.environ.pop(VARIABLE, "")
    if workers == 1:
        yield
        return
    try:
        directory = Path(configured or tempfile.mkdtemp(prefix="graphcap-metrics-", dir=_MEMORY))
        directory.mkdir(mode=0o700, exist_ok=True)
        _empty(directory)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError:
        log.warning("%s is not writable: /metrics shows the values of the worker that answers.", configured or _MEMORY)
        yield
        return
    os.environ[VARIABLE] = str(directory)
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        _empty(directory)
        if not configured:
            shutil.rmtree(directory, ignore_errors=True)


def _empty(directory: Path) -> None:
    for file in directory.glob("*.db"):
        file.unlink()


def forget_worker(pid: int) -> None:
    """Remove the gauges of a worker that has ended. The worker's counters are kept."""
    if os.environ.get(VARIABLE):
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(pid)  # type: ignore[no-untyped-call]
