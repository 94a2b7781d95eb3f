"""Two workers are one service: their figures are added up, and none is lost with a worker."""

import os
import re
import signal
from contextlib import suppress
from pathlib import Path
from threading import Event
from time import monotonic

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from bridge.telemetry import shared
from tests.api import streams
from tests.api.sockets import socket
from tests.api.streams import SAMPLE
from tests.service import Service
from tests.telemetry.figures import HANG_GUARD, Figures, scrape, until
from tests.tools import need_namespaces

START_GUARD = 60.0  # two interpreters on a busy machine
PAUSE = Event()
ASKED = {"perspective": "alt_text", "image": {"path": SAMPLE}}


def workers(service: Service) -> dict[int, int]:
    """Process id by seat, of those that serve by now."""
    found = {}
    for task in Path(f"/proc/{service.process.pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            with suppress(OSError):
                locks = [os.readlink(one) for one in Path(f"/proc/{child}/fd").iterdir()]
                found |= {int(seat[1]): child for one in locks if (seat := re.search(r"/(\d+)\.lock$", one))}
    return found


def both(service: Service) -> dict[int, int]:
    end = monotonic() + START_GUARD
    while len(found := workers(service)) < 2:
        assert monotonic() < end, f"only {found} serve"
        PAUSE.wait(0.05)
    return found


def directory(pid: int) -> Path | None:
    given = dict(one.split("=", 1) for one in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in one)
    return Path(given[shared.VARIABLE]) if shared.VARIABLE in given else None


def rises(before: Figures, after: Figures) -> None:
    now = after.counters()
    assert {series: value for series, value in before.counters().items() if now.get(series, -1) < value} == {}


def captions(figures: Figures) -> float:
    return figures.of("bridge_captions_total", outcome="ok", perspective="alt_text")


def replaced(service: Service, seen: Figures) -> Figures:
    """Kill every worker; the last of the scrapes until others have their seats, each above the one before."""
    killed = both(service)
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)
    end = monotonic() + START_GUARD
    while set(both(service).values()) & set(killed.values()):
        assert monotonic() < end
        with suppress(httpx.TransportError):  # it was taken by one that is gone
            latest = scrape(service)
            rises(seen, latest)
            seen = latest
    return seen


@pytest.mark.slow
def test_figures_are_those_of_all_and_outlive_the_workers() -> None:
    with Service("--workers", "2") as service:
        made = {directory(pid) for pid in both(service).values()}
        for _ in range(8):
            assert streams.post(service, "/caption", ASKED).status_code == 200
        with suppress(ConnectionClosed), socket(service):
            seen = until(service, lambda one: one.of("bridge_websocket_connections") == 1)
            assert captions(seen) == 8
            seen = replaced(service, seen)
            assert captions(seen) == 8
            until(service, lambda one: one.of("bridge_websocket_connections") == 0)
        for _ in range(4):
            assert streams.post(service, "/caption", ASKED).status_code == 200
        after = scrape(service)
        rises(seen, after)
        assert captions(after) == 12
        assert after.of("bridge_request_duration_seconds_count", route="/perspectives/caption", status="200") == 12
        check_place(made)
    assert service.code == 0
    assert not any(one and one.exists() for one in made)


def check_place(made: set[Path | None]) -> None:
    """One private directory in memory, which four workers in turn did not make grow."""
    (place,) = made
    assert place is not None
    assert place.parent == Path("/dev/shm")
    assert place.stat().st_mode & 0o777 == 0o700
    assert {one.stem for one in place.glob("*.lock")} == {"0", "1", "owner"}


def test_one_worker_writes_nothing() -> None:
    with Service() as service:
        scrape(service)
        assert directory(service.process.pid) is None
        assert "graphcap-metrics" not in Path(f"/proc/{service.process.pid}/maps").read_text()


class Elsewhere(Service):
    """A service whose /dev/shm takes no files."""

    def __init__(self, *options: str) -> None:
        super().__init__(*options)
        within = 'mount -t tmpfs -o ro none /dev/shm && exec "$0" "$@"'
        self._command = ["unshare", "--mount", "sh", "-c", within, *self._command]


@pytest.mark.slow
def test_without_memory_each_worker_tells_its_own_and_says_so() -> None:
    need_namespaces()
    with Elsewhere("--workers", "2") as service:
        answer = httpx.get(f"{service.url}/metrics", timeout=HANG_GUARD, trust_env=False)
    assert answer.text.startswith("# WARNING: figures of one worker of several")
    assert "bridge_captions_total" in answer.text
    assert "/dev/shm is not writable" in service.log


def test_what_a_killed_service_left_is_swept(tmp_path: Path) -> None:
    left, held, young = (tmp_path / f"graphcap-metrics-{name}" for name in ("left", "held", "young"))
    for one in (left, held, young):
        one.mkdir()
        (one / "owner.lock").touch()
    seat = shared.take_seat(held)
    assert seat == 0
    for one in (left, held):
        os.utime(one, (0, 0))
    with shared.directory(tmp_path) as made:
        assert made
        assert not left.exists()
        assert held.exists()
        assert young.exists()


def test_what_another_service_sweeps_meanwhile_is_left_to_it(tmp_path: Path) -> None:
    """Names that lead nowhere are what is seen of a directory, or a lock in it, that was removed just now."""
    (tmp_path / "graphcap-metrics-gone").symlink_to("nowhere")
    half, left = (tmp_path / f"graphcap-metrics-{name}" for name in ("half", "left"))
    for one in (half, left):
        one.mkdir()
        for seat in range(20):
            (one / f"{seat}.lock").touch()
    (half / "owner.lock").symlink_to("nowhere")
    for one in (half, left):
        os.utime(one, (0, 0))
    before = os.listdir("/proc/self/fd")
    with shared.directory(tmp_path) as made:
        assert made
        assert not left.exists()
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_no_place_no_directory(tmp_path: Path) -> None:
    with shared.directory(tmp_path / "none") as made:
        assert not made
    assert shared.VARIABLE not in os.environ
