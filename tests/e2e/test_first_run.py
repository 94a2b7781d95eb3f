"""The first run on a clean machine: make, and a Python with venv or pip."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.image import PROXIES
from tests.service import ROOT
from tests.tools import missing, need, need_namespaces

pytestmark = pytest.mark.slow

SYSTEM_PATH = "/usr/bin:/bin"


@dataclass(frozen=True)
class Machine:
    """A clean copy of the tree, an empty home, and only PATH and HOME in the environment."""

    tree: Path
    home: Path
    without: Path | None

    def make(self, *arguments: str, network: bool = True) -> subprocess.CompletedProcess[str]:
        hide = f'mount --bind "{self.home.parent / "nothing"}" "{self.without}"; ' if self.without else ""
        cut = [] if network else ["--net"]
        return subprocess.run(
            ["unshare", "--mount", *cut, "sh", "-euc", hide + 'exec make "$@"', "make", *arguments],
            cwd=self.tree,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def environment(self) -> dict[str, str]:
        proxies = {name: os.environ[name] for name in PROXIES if name in os.environ}
        return {"PATH": SYSTEM_PATH, "HOME": str(self.home), "LANG": "C.UTF-8"} | proxies


@pytest.fixture(scope="module", params=["venv", "pip only"])
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    need_namespaces()
    need("make")
    if shutil.which("uv", path=SYSTEM_PATH):
        missing("a system without uv")
    python = system_python()
    folder = tmp_path_factory.mktemp("first")
    for name in ("home", "nothing"):
        (folder / name).mkdir()
    without = None
    if request.param == "pip only":
        if run(python, "-m", "pip", "--version").returncode:
            missing("pip for the system's Python (python3-pip)")
        without = ensurepip(python)
    elif ensurepip(python) is None:
        missing("venv for the system's Python (python3-venv)")
    cache = tmp_path_factory.getbasetemp() / "uv"  # shared, so that packages are downloaded once
    cache.mkdir(exist_ok=True)
    (folder / "home/.cache").mkdir()
    (folder / "home/.cache/uv").symlink_to(cache)
    copy_tree(folder / "tree")
    yield Machine(folder / "tree", folder / "home", without)
    shutil.rmtree(folder)


def system_python() -> str:
    """Return the interpreter of the distribution (PEP 668), which does not run these tests."""
    python = shutil.which("python3", path=SYSTEM_PATH)
    if python is None or run(python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))").returncode:
        missing("a Python of the system's own, 3.11 or newer")
    return python


def ensurepip(python: str) -> Path | None:
    """Return the folder of ensurepip, which Debian has in python3-venv."""
    result = run(python, "-c", "import ensurepip; print(ensurepip.__path__[0])")
    return Path(result.stdout.strip()) if result.returncode == 0 else None


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def copy_tree(target: Path) -> None:
    """Copy the files of a clone, with uncommitted changes."""
    need("git")
    listed = run("git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    assert listed.returncode == 0, listed.stderr
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def test_make_caption_works_on_a_clean_machine_and_later_offline(machine: Machine) -> None:
    first = machine.make("caption")
    assert first.returncode == 0, first.stderr
    assert len(first.stdout.split()) > 5
    assert "Installing uv" in first.stderr

    again = machine.make("caption", network=False)
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.stdout
    assert "Installing" not in again.stderr


def test_make_setup_works_offline_after_pyproject_changed(machine: Machine) -> None:
    assert machine.make("setup").returncode == 0
    (machine.tree / "pyproject.toml").touch()
    done = machine.make("setup", network=False)
    assert done.returncode == 0, done.stderr
