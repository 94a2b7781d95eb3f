"""The server block for an existing nginx, the systemd unit, and balancing of other numbers of bridges."""

import configparser
import json
import re
import socket as sockets
import ssl
import subprocess
from pathlib import Path

import pytest

from bridge.settings import Settings
from deploy.nginx.generate import render
from tests.api import streams
from tests.api.sockets import socket
from tests.deploy.fleet import BODY, CAPTION, Nginx, client, replace_all
from tests.deploy.test_compose import ENDING
from tests.guard import GUARD
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
        nginx = Nginx(tmp_path, [bridge.port])
        certificate = f"/etc/letsencrypt/live/{NAME}/"
        moves = {
            "listen 443 ssl;": f"listen 127.0.0.1:{nginx.port} ssl;",
            "127.0.0.1:32100": f"127.0.0.1:{bridge.port}",
            certificate + "fullchain.pem": f"{tmp_path}/server.pem",
            certificate + "privkey.pem": f"{tmp_path}/server.pem",
        }
        server = replace_all(SERVER.read_text(encoding="utf-8"), moves)
        (tmp_path / "nginx.conf").write_text(MAIN.format(folder=tmp_path, server=server), encoding="utf-8")
        untrusted = ssl._create_unverified_context()
        headers = {"Host": NAME, "Authorization": f"Bearer {KEY}"}
        with nginx, client(f"https://127.0.0.1:{nginx.port}", verify=untrusted, headers=headers) as item:
            assert item.get("/metrics").status_code == 404
            assert item.get("/info", headers={"Authorization": ""}).json()["code"] == "unauthorized"
            large = b" " * 5_000_000 + json.dumps(BODY).encode()
            assert item.post(CAPTION, content=large).status_code == 200
            with item.stream("POST", CAPTION, json=BODY, headers={"Accept": "text/event-stream"}) as response:
                streams.check_event_order([*streams.events(response)], ["alt_text"])
            plain = sockets.create_connection(("127.0.0.1", nginx.port))
            key = {"Authorization": f"Bearer {KEY}"}
            with socket(f"https://{NAME}", sock=plain, ssl=untrusted, additional_headers=key) as frames:
                frames.send("caption", "a", **BODY)
                frames.all_events("a", "alt_text")
            assert item.post(CAPTION, json=BODY).status_code == 429
        assert bridge.get("/info", **headers).status_code == 200


def test_the_unit_waits_for_a_shutdown_and_does_not_repeat_an_invalid_configuration() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT, encoding="utf-8")
    service = unit["Service"]
    assert float(service["TimeoutStopSec"]) > Settings().grace + ENDING
    assert service["KillMode"] == "mixed"  # workers end with the graceful shutdown of the service
    assert service["RestartPreventExitStatus"] == "2"
    assert service["ExecStart"].startswith(service["WorkingDirectory"])


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    program = need("systemd-analyze")
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/sh", UNIT.read_text(encoding="utf-8")), encoding="utf-8")
    result = subprocess.run([program, "verify", unit], capture_output=True, text=True, timeout=GUARD, check=False)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_the_third_attempt_excludes_both_bridges_that_refused() -> None:
    text = render(f"10.0.0.{number}:1" for number in range(1, 6))
    upstreams = dict(re.findall(r"upstream (\w+) {(.*?)}", text, re.DOTALL))
    rows = re.findall(r"\^without_(\d) .*\.(\d):1\$\" (\w+);", text)
    assert len(rows) == 5 * 4
    for first, second, upstream in rows:
        assert set(re.findall(r"10\.0\.0\.(\d)", upstreams[upstream])) == set("12345") - {first, second}
