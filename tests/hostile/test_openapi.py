"""Generated requests against the service: every response matches the OpenAPI document.

schemathesis runs as a program: as a plugin it would slow every test run by a second.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service import ROOT, Service, clean_environment

pytestmark = pytest.mark.slow

HANG_GUARD = 400
BLIND = {"GRAPHCAP_REQUEST_PROVIDERS": "none", "GRAPHCAP_IMAGE_URLS": "off"}  # generated addresses are not called


def test_every_response_matches_the_document(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    with Service(**BLIND) as service:
        found = subprocess.run(
            [
                *(program, "--config-file", ROOT / "tests/hostile/schemathesis.toml"),
                *("run", ROOT / "openapi.json", "--url", service.url),
                *("--continue-on-failure", "--no-color"),
            ],
            cwd=tmp_path,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=HANG_GUARD,
        )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "Traceback" not in service.log
    operations = sum(map(len, json.loads((ROOT / "openapi.json").read_text("utf-8"))["paths"].values()))
    assert f"Tested: {operations}" in found.stdout, found.stdout
