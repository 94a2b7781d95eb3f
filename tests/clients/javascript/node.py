"""Run Node programs of the JavaScript client."""

import os
import subprocess
from pathlib import Path

from tests.service import ROOT
from tests.tools import need

CLIENT = ROOT / "clients/javascript"
GUARD = 600


def run(folder: Path, *command: str, **environment: str) -> None:
    """Run a command there; its output is the message of a failure."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=GUARD,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def run_tests(package: Path, name: str, **environment: str) -> None:
    """Run one file of the client's own tests."""
    options = ["--experimental-websocket", "--test", "--test-reporter=spec", "--test-timeout=240000"]
    run(package, need("node"), *options, f"test/{name}", **environment)
