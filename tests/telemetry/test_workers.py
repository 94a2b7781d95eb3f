"""Metrics of several workers are added up, and survive the end of a worker."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from bridge.telemetry.multiprocess import VARIABLE
from tests.api import streams
from tests.api.sockets import socket
from tests.api.streams import SAMPLE
from tests.service import Service, until
from tests.telemetry.figures import Figures, scrape, scrape_until
from tests.tools import children_of, read_process

BODY = {"perspective": "alt_text", "image": {"path": SAMPLE}}


def workers(service: Service) -> set[int]:
    """Return the process ids of the workers that have separate metrics by now."""
    place = directory(service)
    pids = {int(file.stem.rpartition("_")[2]) for file in place.glob("counter_*.db")} if place else set()
    return {pid for pid in pids if Path(f"/proc/{pid}").exists()}


def directory(service: Service) -> Path | None:
    """Return the directory in which the workers of a service keep their metrics."""
    for child in children_of(service.process.pid):
        for line in read_process(child, "environ").decode().split("\0"):
            if line.startswith(f"{VARIABLE}="):
                return Path(line.partition("=")[2])
    return None


def wait_for_workers(service: Service, count: int, without: set[int] = frozenset()) -> set[int]:
    return until(lambda: running if len(running := workers(service) - without) >= count else None)


def captions(figures: Figures) -> float:
    return figures.of("bridge_captions_total", outcome="ok", perspective="alt_text")


@pytest.mark.slow
def test_metrics_of_all_workers_are_added_up_and_survive_them() -> None:
    with Service("--workers", "2") as service:
        killed = wait_for_workers(service, 2)
        for _ in range(8):
            assert streams.post(service, "/caption", BODY).status_code == 200
        with suppress(ConnectionClosed), socket(service):
            seen = scrape_until(service, lambda figures: figures.of("bridge_websocket_connections") == 1)
            assert captions(seen) == 8
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            wait_for_workers(service, 2, killed)
        after = scrape_until(service, lambda figures: figures.of("bridge_websocket_connections") == 0)
        assert captions(after) == 8
        for _ in range(4):
            assert streams.post(service, "/caption", BODY).status_code == 200
        assert captions(scrape(service)) == 12
        place = directory(service)
        assert place is not None
        assert (place.parent, place.stat().st_mode & 0o777) == (Path("/dev/shm"), 0o700)
    assert service.code == 0
    assert not place.exists()


@pytest.mark.slow
def test_workers_that_sighup_replaces_leave_no_gauges() -> None:
    with Service("--workers", "2") as service:
        before = wait_for_workers(service, 2)
        place = directory(service)
        assert place is not None
        service.process.send_signal(signal.SIGHUP)
        wait_for_workers(service, 2, before)
        until(
            lambda: not [file for file in place.glob("gauge_live*.db") if int(file.stem.rpartition("_")[2]) in before]
        )


@pytest.mark.slow
def test_without_a_writable_directory_each_worker_reports_its_own() -> None:
    with Service("--workers", "2", **{VARIABLE: "/proc/nowhere"}) as service:
        response = service.get("/metrics")
        assert response.text.startswith("# WARNING: metrics of one worker of several")
        assert "bridge_captions_total" in response.text
        assert "/proc/nowhere is not writable" in service.log
