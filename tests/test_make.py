"""The messages of make if a requirement is missing."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.service import ROOT
from tests.tools import missing, need

SYSTEM_PATH = "/usr/bin:/bin"


@pytest.mark.parametrize(
    ("python", "sentences"),
    [
        (
            '[ "$1" = --version ] && echo Python 3.9.2 || exit 1',
            ["needs Python 3.11 or newer", "Python 3.9.2", "make PYTHON="],
        ),
        ('[ "$1" != -m ]', ["apt-get install python3-venv"]),
    ],
    ids=["old Python", "no venv and no pip"],
)
def test_a_missing_requirement_is_reported_with_a_remedy(tmp_path: Path, python: str, sentences: list[str]) -> None:
    if shutil.which("uv", path=SYSTEM_PATH):
        missing("a system without uv")
    for name in ("Makefile", "pyproject.toml", "requirements.lock", ".ci/uv.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    (tmp_path / "python").write_text(f"#!/bin/sh\n{python}\n")
    (tmp_path / "python").chmod(0o755)
    command = [need("make"), "caption", f"PYTHON={tmp_path}/python"]
    environment = {"PATH": SYSTEM_PATH, "HOME": os.devnull}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert [sentence for sentence in sentences if sentence not in done.stderr] == []
    assert not (tmp_path / ".tools/ready").exists()
