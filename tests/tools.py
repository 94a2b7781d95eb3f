"""Programs and permissions that some tests require."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest


def need(command: str) -> str:
    """Return the path of a program. Without the program, skip the test, or fail it in CI."""
    return shutil.which(command) or missing(command)


def need_python(version: str) -> Path:
    """Return an interpreter of this minor version ("3.12"), from PATH or pyenv."""
    candidates = [shutil.which(f"python{version}"), *pyenv_pythons(version)]
    return next((Path(path).resolve() for path in candidates if path and runs(path)), None) or missing(
        f"python{version}"
    )


def need_namespaces() -> None:
    """Skip the test, or fail it in CI, without permission to create mount namespaces."""
    need("unshare")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        missing("permission to create a mount namespace (root)")


def read_process(process: int | str, name: str) -> bytes:
    """Return a file of /proc/<process>, or nothing when the process has ended."""
    try:
        return Path(f"/proc/{process}/{name}").read_bytes()
    except OSError:
        return b""


def children_of(parent: int) -> set[int]:
    """Return the ids of all children of a process."""
    threads = Path(f"/proc/{parent}/task").glob("*")
    return {int(child) for thread in threads for child in read_process(parent, f"task/{thread.name}/children").split()}


def missing(what: str) -> NoReturn:
    message = f"needs {what}, which this machine does not have"
    if "CI" in os.environ or "GRAPHCAP_REQUIRE_TOOLS" in os.environ:
        pytest.fail(message)
    pytest.skip(message)


def pyenv_pythons(version: str) -> list[str]:
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return sorted(map(str, root.glob(f"versions/{version}*/bin/python{version}")), reverse=True)


def runs(python: str) -> bool:
    """Return whether the interpreter runs: a pyenv shim on PATH fails for versions that are not selected."""
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0
