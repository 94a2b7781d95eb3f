"""The server for an nginx that already runs, the systemd unit, and balancers for other numbers of bridges."""

import configparser
import json
import re
import socket as sockets
import ssl
import subprocess
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Self

import httpx
import pytest

from bridge.settings import Settings
from deploy.nginx.generate import render
from tests.api import streams
from tests.api.sockets import socket
from tests.deploy.fleet import BODY, CAPTION, HANG_GUARD, Nginx, client, moved
from tests.deploy.test_compose import ENDING
from tests.servers.tls import self_signed
from tests.service import ROOT, Service
from tests.tools import need

KEY = "our-key-1234567"
NAME = "captions.example.org"
SERVER = ROOT / "deploy/nginx/bridge.conf"
UNIT = ROOT / "deploy/systemd/graphcap-bridge.service"
MAIN = """
daemon off; pid {folder}/nginx.pid; events {{}}
http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path
{folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi; {server} }}
"""


@pytest.mark.slow
def test_an_existing_nginx_publishes_a_bridge_with_tls(tmp_path: Path) -> None:
    self_signed(tmp_path)
    settings = {"GRAPHCAP_API_KEYS": KEY, "GRAPHCAP_ALLOWED_HOSTS": NAME, "GRAPHCAP_RATE_LIMIT": "3/month"}
    with Service(**settings) as bridge:
        port = int(bridge.url.rpartition(":")[2])
        nginx = Nginx(tmp_path, [port])
        certificate = f"/etc/letsencrypt/live/{NAME}/"
        moves = {
            "listen 443 ssl;": f"listen 127.0.0.1:{nginx.port} ssl;",
            "127.0.0.1:32100": f"127.0.0.1:{port}",
            certificate + "fullchain.pem": f"{tmp_path}/server.pem",
            certificate + "privkey.pem": f"{tmp_path}/server.pem",
        }
        server = moved(SERVER.read_text(encoding="utf-8"), moves)
        (tmp_path / "nginx.conf").write_text(MAIN.format(folder=tmp_path, server=server), encoding="utf-8")
        untrusted = ssl._create_unverified_context()
        headers = {"Host": NAME, "Authorization": f"Bearer {KEY}"}
        with nginx, client(f"https://127.0.0.1:{nginx.port}", verify=untrusted, headers=headers) as item:
            assert item.get("/metrics").status_code == 404
            assert item.get("/info", headers={"Authorization": ""}).json()["code"] == "unauthorized"
            large = b" " * 5_000_000 + json.dumps(BODY).encode()
            assert item.post(CAPTION, content=large).status_code == 200
            with item.stream("POST", CAPTION, json=BODY, headers={"Accept": "text/event-stream"}) as response:
                streams.check_story([*streams.events(response)], ["alt_text"])
            plain = sockets.create_connection(("127.0.0.1", nginx.port))
            key = {"Authorization": f"Bearer {KEY}"}
            with socket(f"https://{NAME}", sock=plain, ssl=untrusted, additional_headers=key) as frames:
                frames.send("caption", "a", **BODY)
                frames.story("a", "alt_text")
            assert item.post(CAPTION, json=BODY).status_code == 429
        assert httpx.get(f"{bridge.url}/info", headers=headers, trust_env=False).status_code == 200


def test_the_server_has_the_limits_of_a_bridge() -> None:
    text, settings = SERVER.read_text(encoding="utf-8"), Settings()
    assert f"client_max_body_size {settings.body_limit};" in text
    assert f"proxy_pass http://127.0.0.1:{settings.port};" in text
    (patience,) = re.findall(r"proxy_read_timeout (\d+)s;", text)
    assert int(patience) > settings.timeout + 10


def test_the_unit_waits_for_a_shutdown_and_does_not_repeat_an_invalid_configuration() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT, encoding="utf-8")
    service = unit["Service"]
    assert float(service["TimeoutStopSec"]) > Settings().grace + ENDING
    assert service["KillMode"] == "mixed"  # workers end with the service's own drain
    assert service["RestartPreventExitStatus"] == "2"
    assert service["ExecStart"].startswith(service["WorkingDirectory"])


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    program = need("systemd-analyze")
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/sh", UNIT.read_text(encoding="utf-8")), encoding="utf-8")
    result = subprocess.run([program, "verify", unit], capture_output=True, text=True, timeout=HANG_GUARD, check=False)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


# Balancers for other numbers of bridges than Compose has.


class Full(ThreadingHTTPServer):
    """A bridge that refuses requests before it begins them, while `full`; `offered` counts requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Responder)
        self.full, self.offered = True, 0

    def __enter__(self) -> Self:
        Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()


class Responder(BaseHTTPRequestHandler):
    server: Full

    def do_POST(self) -> None:
        self.server.offered += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(503 if self.server.full else 200)
        self.send_header("X-Request-Begun", "no" if self.server.full else "yes")
        self.end_headers()

    def log_message(self, *words: object) -> None:
        pass


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_refused_request_is_offered_to_three_different_bridges(tmp_path: Path, count: int) -> None:
    with ExitStack() as running:
        servers = [running.enter_context(Full()) for _ in range(count)]
        nginx = running.enter_context(Nginx(tmp_path, [server.server_port for server in servers]))
        item = running.enter_context(client(nginx.url))
        for _ in range(5):
            for server in servers:
                server.offered = 0
            assert item.post(CAPTION, json=BODY).status_code == 503
            offered = [server.offered for server in servers]
            assert (sum(offered), max(offered)) == (min(count, 3), 1)
        for server in servers[2:]:
            server.full = False
        statuses = {item.post(CAPTION, json=BODY).status_code for _ in range(8)}
        assert statuses == {200 if count > 2 else 503}


def test_the_third_attempt_excludes_both_bridges_that_refused() -> None:
    text = render(f"10.0.0.{number}:1" for number in range(1, 6))
    upstreams = dict(re.findall(r"upstream (\w+) {(.*?)}", text, re.DOTALL))
    rows = re.findall(r"\^without_(\d) .*\.(\d):1\$\" (\w+);", text)
    assert len(rows) == 5 * 4
    for first, second, upstream in rows:
        assert set(re.findall(r"10\.0\.0\.(\d)", upstreams[upstream])) == set("12345") - {first, second}


@pytest.mark.parametrize("addresses", [[], ["bridge-1:32100"], ["10.0.0.1"], ["10.0.0.1:x"], ["10.0.0.1:1"] * 2])
def test_invalid_addresses_are_rejected(addresses: list[str]) -> None:
    with pytest.raises(ValueError, match=r"address"):
        render(addresses)
