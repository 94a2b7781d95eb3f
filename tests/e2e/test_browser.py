"""The documentation and DNS rebinding in a browser."""

import subprocess
from pathlib import Path

import pytest

from tests.service import Service
from tests.tools import need

pytestmark = pytest.mark.slow
SECONDS = 90
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    *("--host-resolver-rules=MAP evil.test 127.0.0.1", "--virtual-time-budget=10000", "--dump-dom"),
)


def rendered_page(folder: Path, url: str) -> str:
    """Return the document of a page after its scripts have run."""
    command = [need("chromium"), *FLAGS, f"--user-data-dir={folder / 'profile'}", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    return done.stdout


def test_the_documentation_loads_nothing_from_other_hosts(tmp_path: Path, service: Service) -> None:
    shown = rendered_page(tmp_path, service.url + "/docs")
    assert "/perspectives/{name}/caption" in shown.replace("<wbr>", "")
    assert shown.count('class="opblock ') >= 10


def test_dns_rebinding_is_rejected(tmp_path: Path, service: Service) -> None:
    shown = rendered_page(tmp_path, service.url.replace("127.0.0.1", "evil.test") + "/perspectives/list")
    assert "origin_refused" in shown
    assert "alt_text" not in shown
