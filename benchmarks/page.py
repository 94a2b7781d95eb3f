"""Measure the page at `/` in Chromium: seconds to the first paint, and all bytes that it loads until it can be used."""

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

from benchmarks.report import SPREAD, Report, Table, Target, spread
from benchmarks.running import bridge

RUNS = 10
GUARD = 60.0
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0"),
)
# Resolves once the page was painted, and has asked for its lists and for /docs, its last request.
READY = """new Promise((resolve) => {
  const look = () => {
    const paint = performance.getEntriesByName("first-contentful-paint")[0];
    const loaded = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
    const ended = (path) => loaded.some(({name}) => name.endsWith(path));
    if (!paint || !["/summaries", "/list", "/docs"].every(ended)) return setTimeout(look, 10);
    resolve({paint: paint.startTime, files: loaded.map(({name, transferSize}) => [name, transferSize])});
  };
  look();
})"""


def run() -> Report:
    """Open the page several times, each time with an empty cache, and report medians."""
    paints, sizes = [], {}
    with bridge() as service, browser() as tab:
        for _ in range(RUNS + 1):
            loaded = tab.open(f"{service.url}/")
            paints.append(loaded["paint"])
            sizes = {name.removeprefix(service.url): size for name, size in loaded["files"]}
    del paints[0]  # the first run also starts the browser's processes
    row = spread("first contentful paint", paints)
    own = sum(size for name, size in sizes.items() if name == "/" or name.startswith("/page/"))
    data = sum(sizes.values()) - own
    rows = (
        ("files of the page, with the client", f"{own / 1000:.0f} kB"),
        ("lists from the API", f"{data / 1000:.0f} kB"),
    )
    targets = [
        Target("first paint of the page", 300, median(paints), "ms"),
        Target("files of the page and lists from the API", 150, (own + data) / 1000, "kB"),
    ]
    return Report("Page", [Table(SPREAD, (row,)), Table(("loaded", "size"), rows)], targets)


class Tab:
    """A tab of the browser, driven by the DevTools protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._last = 0

    def open(self, url: str) -> Any:
        """Open a page without a cache. Return what it loaded and when it was painted."""
        self._call("Network.setCacheDisabled", cacheDisabled=True)
        self._call("Page.navigate", url="about:blank")
        self._call("Page.navigate", url=url)
        answer = self._call("Runtime.evaluate", expression=READY, awaitPromise=True, returnByValue=True)
        return answer["result"]["value"]

    def _call(self, method: str, **parameters: Any) -> Any:
        self._last += 1
        self._socket.send(json.dumps({"id": self._last, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(GUARD))
            if message.get("id") == self._last:
                return message["result"]


@contextmanager
def browser() -> Iterator[Tab]:
    """Start Chromium with an empty profile and yield its first tab."""
    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("This benchmark needs Chromium. On Debian: apt-get install chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with connect(_tab_address(Path(profile) / "DevToolsActivePort"), proxy=None, max_size=None) as socket:
                yield Tab(socket)
        finally:
            process.terminate()
            process.wait(GUARD)


def _tab_address(file: Path) -> str:
    """Return the WebSocket address of the first tab, once the browser has written its port."""
    end = time.monotonic() + GUARD
    while not (file.exists() and "\n" in file.read_text()):
        if time.monotonic() > end:
            raise TimeoutError("Chromium did not start.")
        time.sleep(0.05)
    port = file.read_text().splitlines()[0]
    targets = httpx.get(f"http://127.0.0.1:{port}/json/list", trust_env=False).json()
    address: str = next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page")
    return address
