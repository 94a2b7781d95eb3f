"""A browser: fetch and WebSocket from pages of this machine and of foreign origins."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from tests.api.streams import GOOD, caption
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import Service
from tests.tools import need

pytestmark = pytest.mark.slow
SECONDS = 90
KEY = "our-own-key-12345"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)

PAGE = """<!doctype html><meta charset="utf-8"><body><script>
const service = %(service)s, body = %(body)s;
const told = {};

async function stream() {
  const answer = await fetch(`${service}/api/v1/perspectives/caption`, {
    method: "POST",
    headers: {"Content-Type": "application/json", "Accept": "text/event-stream"},
    body: JSON.stringify(body),
  });
  if (!answer.ok) return {status: answer.status, problem: await answer.json()};
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  const events = [];
  let text = "", reads = 0;
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return {status: answer.status, id: answer.headers.get("x-request-id"), reads, events};
    reads += 1;
    text += value;
    const blocks = text.split("\\n\\n");
    text = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\\n").find((line) => line.startsWith("data: "));
      if (data) events.push(JSON.parse(data.slice(6)));
    }
  }
}

async function form() {
  const parts = new FormData();
  parts.append("image", new Blob(["GIF89a"]), "a.gif");
  const answer = await fetch(`${service}/api/v1/perspectives/alt_text/caption`, {method: "POST", body: parts});
  return {status: answer.status, problem: await answer.json()};
}

function submitted() {
  return new Promise((resolve) => {
    const frame = Object.assign(document.createElement("iframe"), {name: "answer"});
    const form = Object.assign(document.createElement("form"), {
      method: "post", enctype: "multipart/form-data", target: "answer",
      action: `${service}/api/v1/perspectives/alt_text/caption`,
    });
    form.append(Object.assign(document.createElement("input"), {name: "provider", value: "builtin"}));
    document.body.append(frame, form);
    frame.onload = () => resolve({sent: true});
    form.submit();
  });
}

function socket() {
  return new Promise((resolve) => {
    const opened = new WebSocket(service.replace("http", "ws") + "/api/v1/perspectives/stream");
    const events = [];
    opened.onopen = () => {
      opened.send(JSON.stringify({type: "caption", id: "a1", ...body}));
    };
    opened.onmessage = ({data}) => {
      const event = JSON.parse(data);
      events.push(event);
      if (event.type === "done") opened.close(1000);
    };
    opened.onclose = ({code}) => resolve({code, events});
  });
}

async function all() {
  for (const [name, ask] of Object.entries({stream, form, submitted, socket})) {
    try { told[name] = await ask(); } catch (error) { told[name] = {error: String(error)}; }
  }
  await fetch("/told", {method: "POST", body: JSON.stringify(told)});
}
all();
</script>"""


class Page(BaseHTTPRequestHandler):
    """A page that posts the results of its requests."""

    def __init__(self, page: bytes, payload: Queue[bytes], *rest: Any) -> None:
        self.page, self.told = page, payload
        super().__init__(*rest)

    def do_GET(self) -> None:
        self.answer(self.page)

    def do_POST(self) -> None:
        self.told.put(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(b"")

    def answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *said: Any) -> None:
        """Ignore requests for icons."""


@contextmanager
def serving(page: str, payload: Queue[bytes]) -> Iterator[int]:
    """Serve the page on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Page, page.encode(), payload))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def browsing(folder: Path, url: str) -> Iterator[None]:
    """Open the page in a new browser; evil.test resolves to this machine."""
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [need("chromium"), *FLAGS, profile, "--host-resolver-rules=MAP evil.test 127.0.0.1", url]
    browser = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        os.killpg(browser.pid, signal.SIGKILL)  # the group that this browser leads
        browser.wait()


def visit(folder: Path, host: str, service: Service, body: dict[str, Any]) -> dict[str, Any]:
    """Return the results of a page of this host."""
    page = PAGE % {"service": json.dumps(service.url), "body": json.dumps(body)}
    responses: Queue[bytes] = Queue()
    with serving(page, responses) as port, browsing(folder, f"http://{host}:{port}/"):
        payload: dict[str, Any] = json.loads(responses.get(timeout=SECONDS))
    return payload


@pytest.fixture
def body(vllm_server: OpenAIServer) -> dict[str, Any]:
    vllm_server.default = b.Drip(0.06, 400, b.Answer({"caption": "a cup on a table " * 12}, pieces=12))
    return caption(vllm_server)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service() as running:
        yield running


def check_events(events: list[dict[str, Any]]) -> None:
    kinds = [item["type"] for item in events]
    assert (kinds[0], kinds[-2:]) == ("started", ["result", "done"])
    assert kinds.count("partial") >= 2
    assert events[-2]["caption"]["result"]["caption"].startswith(GOOD["caption"])


def test_a_page_of_this_machine(tmp_path: Path, service: Service, body: dict[str, Any]) -> None:
    payload = visit(tmp_path, "localhost", service, body)
    check_events(payload["stream"]["events"])
    assert payload["stream"]["reads"] >= 3  # it came in pieces, not at the end
    assert payload["stream"]["id"] == payload["stream"]["events"][0]["id"]
    assert payload["form"]["problem"]["code"] in ("invalid_image", "unsupported_image")
    assert payload["socket"]["code"] == 1000
    check_events(payload["socket"]["events"])


def test_a_page_of_a_foreign_origin(
    tmp_path: Path, service: Service, body: dict[str, Any], vllm_server: OpenAIServer
) -> None:
    payload = visit(tmp_path, "evil.test", service, body)
    assert "Failed to fetch" in payload["stream"]["error"]
    assert "Failed to fetch" in payload["form"]["error"]
    assert payload["socket"] == {"code": 1006, "events": []}
    assert vllm_server.calls == []
    assert payload["submitted"] == {"sent": True}
    service.wait_for_log("status=403", 2)  # forms need no preflight: the service itself refused both


def opened(folder: Path, url: str) -> str:
    """Return the document of a page after its scripts have run."""
    command = [need("chromium"), *FLAGS, f"--user-data-dir={folder / 'profile'}"]
    command += ["--host-resolver-rules=MAP evil.test 127.0.0.1", "--virtual-time-budget=10000", "--dump-dom", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    return done.stdout


def test_the_documentation_needs_no_other_host(tmp_path: Path, service: Service) -> None:
    shown = opened(tmp_path, service.url + "/docs")
    assert "/perspectives/{name}/caption" in shown.replace("<wbr>", "")
    assert shown.count('class="opblock ') >= 10


def test_a_rebound_host_name_shows_nothing(tmp_path: Path, service: Service) -> None:
    shown = opened(tmp_path, service.url.replace("127.0.0.1", "evil.test") + "/perspectives/list")
    assert "origin_refused" in shown
    assert "alt_text" not in shown
