"""Record all output of the service during the tests, and search it for API keys."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

DIRECTORY_VARIABLE = "BRIDGE_TESTS_OUTPUT"  # the variable with the directory that all processes of a test run share
PART_LENGTH = 12
_KEY = re.compile(r"""["']((?:sk-|our-|AIza-)[!-~]{8,}?)["']""")


def begin() -> Path:
    """Return the directory of this test run, which the first process creates."""
    if DIRECTORY_VARIABLE not in os.environ:
        os.environ[DIRECTORY_VARIABLE] = tempfile.mkdtemp(prefix="bridge-tests-")
    return Path(os.environ[DIRECTORY_VARIABLE])


def keep(text: str) -> None:
    """Record the output of a process."""
    with (begin() / f"{os.getpid()}.txt").open("a", encoding="utf-8", errors="replace") as file:
        file.write(text + "\n")


def process(pid: int) -> str:
    """Return the command lines and names of a process and its threads, as in a process list."""
    shown = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for name in ("cmdline", "comm"):
            with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended in the meantime
                shown.append((task / name).read_text("utf-8", "replace").replace("\0", " "))
    return "\n".join(shown)


def keys(tests: Path) -> set[str]:
    """Return every key in the tests that begins with sk-, our- or AIza-. Others are not searched for."""
    return {key for file in tests.rglob("*.py") for key in _KEY.findall(file.read_text("utf-8"))}


def parts(key: str) -> Iterator[str]:
    """Yield every part of a key that counts as a leak."""
    return (key[start : start + PART_LENGTH] for start in range(max(1, len(key) - PART_LENGTH + 1)))


def leaks(directory: Path, secrets: set[str]) -> list[str]:
    """Return the lines of the files in `directory` that contain a part of a secret."""
    pattern = re.compile("|".join(re.escape(part) for secret in sorted(secrets) for part in parts(secret)))
    return [
        line
        for file in sorted(directory.iterdir())
        for line in file.read_text("utf-8").splitlines()
        if pattern.search(line)
    ]
