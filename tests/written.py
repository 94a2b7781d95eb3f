"""Everything that the service wrote while the tests ran, and the keys that must not stand in it."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PLACE = "BRIDGE_TESTS_WRITTEN"
"""The variable with the directory; processes of one test run share it."""
PIECE = 12
_KEY = re.compile(r"""["']((?:sk-|our-|AIza-)[!-~]{8,}?)["']""")


def begin() -> Path:
    """The directory of this run, made by whoever comes first."""
    if PLACE not in os.environ:
        os.environ[PLACE] = tempfile.mkdtemp(prefix="bridge-tests-")
    return Path(os.environ[PLACE])


def keep(text: str) -> None:
    """Keep what a process wrote."""
    with (begin() / f"{os.getpid()}.txt").open("a", encoding="utf-8", errors="replace") as file:
        file.write(text + "\n")


def process(pid: int) -> str:
    """What a process list shows of a process and its threads, and what a core file would be called by."""
    shown = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for name in ("cmdline", "comm"):
            with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
                shown.append((task / name).read_text("utf-8", "replace").replace("\0", " "))
    return "\n".join(shown)


def keys(tests: Path) -> set[str]:
    """Every key in the tests: they all begin with sk-, our- or AIza-, so that none is forgotten here."""
    return {key for file in tests.rglob("*.py") for key in _KEY.findall(file.read_text("utf-8"))}


def pieces(key: str) -> Iterator[str]:
    """Every piece of a key that would give it away."""
    return (key[at : at + PIECE] for at in range(max(1, len(key) - PIECE + 1)))


def leaks(place: Path, secrets: set[str]) -> list[str]:
    """The lines that hold a piece of a secret."""
    guarded = re.compile("|".join(re.escape(piece) for secret in sorted(secrets) for piece in pieces(secret)))
    return [
        line
        for file in sorted(place.iterdir())
        for line in file.read_text("utf-8").splitlines()
        if guarded.search(line)
    ]
