"""Send generated requests to the service, and check every response against the OpenAPI document.

schemathesis runs as a program, because the plugin would delay every test run by a second.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service import ROOT, Service, clean_environment

pytestmark = pytest.mark.slow

HANG_GUARD = 400
NO_REMOTE_ADDRESSES = {"GRAPHCAP_REQUEST_PROVIDERS": "none", "GRAPHCAP_IMAGE_URLS": "off"}


def test_every_response_matches_the_document(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    with Service(**NO_REMOTE_ADDRESSES) as service:
        process = subprocess.run(
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
    assert process.returncode == 0, process.stdout + process.stderr
    assert "Traceback" not in service.log
    operations = sum(map(len, json.loads((ROOT / "openapi.json").read_text("utf-8"))["paths"].values()))
    assert f"Tested: {operations}" in process.stdout, process.stdout
