"""Run programs of the JavaScript client."""

import os
import subprocess
from pathlib import Path

from tests.service import ROOT
from tests.tools import need

RUNTIMES = {
    "node": ("--experimental-websocket", "--test", "--test-reporter=spec", "--test-timeout=540000"),
    "deno": ("test", "--allow-all", "--no-check", "--no-lock"),
    "bun": ("test", "--timeout=240000"),
}
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


def run_tests(package: Path, name: str, runtime: str = "node", **environment: str) -> None:
    """Run one file of the client's own tests in a JavaScript runtime."""
    run(package, need(runtime), *RUNTIMES[runtime], f"./test/{name}", **environment)
