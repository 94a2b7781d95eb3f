"""What make says to a person whose machine lacks something."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.tools import missing, need

PROJECT = Path(__file__).resolve().parents[1]
SYSTEM_PATH = "/usr/bin:/bin"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The parts of the project that the set-up reads, and no uv in sight."""
    if shutil.which("uv", path=SYSTEM_PATH):
        missing("a system without uv")
    for name in ("Makefile", "pyproject.toml", "requirements.lock", ".ci/uv.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy2(PROJECT / name, tmp_path / name)
    return tmp_path


def setup(tree: Path, python: str) -> subprocess.CompletedProcess[str]:
    (tree / "python").write_text(f"#!/bin/sh\n{python}\n")
    (tree / "python").chmod(0o755)
    command = [need("make"), "caption", f"PYTHON={tree}/python"]
    environment = {"PATH": SYSTEM_PATH, "HOME": os.devnull}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


def test_an_old_python_is_named_with_what_to_do(tree: Path) -> None:
    done = setup(tree, '[ "$1" = --version ] && echo Python 3.9.2 || exit 1')
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr
    assert "Python 3.9.2" in done.stderr
    assert "make PYTHON=" in done.stderr


def test_a_python_without_venv_and_pip_is_told_what_to_install(tree: Path) -> None:
    done = setup(tree, '[ "$1" != -m ]')
    assert done.returncode != 0
    assert "apt-get install python3-venv" in done.stderr
    assert not (tree / ".tools/ready").exists()
