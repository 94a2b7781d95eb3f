"""Read one file of the workspace, and never a file outside it.

The path is resolved first. The result is opened component by component, starting from the open workspace directory, and
no link is followed. So a directory that is replaced by a link meanwhile does not lead out of the workspace.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import unquote

from bridge.errors import ImageNotFound, PathRefused
from bridge.images.inspect import check_bytes

MOUNT = "/workspace/"
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = _OPEN | os.O_DIRECTORY
_FILE = _OPEN | os.O_NONBLOCK | os.O_NOCTTY  # without O_NONBLOCK, opening a FIFO would wait for a writer
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[/\\]")
# All rejections have the same message, so that it does not reveal which files exist.
_REFUSED = "The path is not that of a file in the workspace. Pass one such as datasets/samples/cat.jpg."


def inside(path: str) -> list[str]:
    """Split a caller's path into components below the workspace. Raises PathRefused if the path leads out of it."""
    relative = path[len(MOUNT) :].lstrip("/") if path.startswith(MOUNT) else path
    if relative.startswith(("/", "\\", "~")) or "\0" in path or _SCHEME.match(relative):
        raise PathRefused(_REFUSED)
    for decoded in (relative, unquote(relative), unquote(unquote(relative))):
        if ".." in re.split(r"[/\\]", decoded) or "\0" in decoded:
            raise PathRefused(_REFUSED)
    try:
        os.fsencode(relative)
    except UnicodeEncodeError as error:
        raise PathRefused(_REFUSED) from error
    return [part for part in relative.split("/") if part not in ("", ".")]


def read(path: str, workspace: Path, max_bytes: int) -> bytes:
    """Read a regular file of the workspace. Raises ImageNotFound, ImageTooLarge, and PathRefused for any other path."""
    parts = inside(path)
    shown = "/".join(parts)
    with _opened(parts, workspace, shown) as file:
        facts = os.fstat(file)
        if not stat.S_ISREG(facts.st_mode):
            raise PathRefused(_REFUSED)
        if path.endswith(("/", "/.")):
            raise ImageNotFound(f"{shown} is a file, not a directory.")
        check_bytes(facts.st_size, max_bytes)
        with open(file, "rb", closefd=False) as stream:
            return stream.read(facts.st_size)  # Python allocates as much as it may read


@contextmanager
def _opened(parts: list[str], workspace: Path, shown: str) -> Iterator[int]:
    root = os.path.realpath(workspace)
    inside_root = root.rstrip("/") + "/"
    resolved = [os.path.realpath(Path(root, *parts[:depth])) + "/" for depth in range(len(parts) + 1)]
    if not all(path.startswith(inside_root) for path in resolved):  # no component may be outside
        raise PathRefused(_REFUSED)
    names = resolved[-1].removeprefix(inside_root).split("/")[:-1]
    try:
        with ExitStack() as stack:
            place = os.open(root, _FOLDER)
            stack.callback(os.close, place)
            for depth, name in enumerate(names, 1):
                place = os.open(name, _FILE if depth == len(names) else _FOLDER, dir_fd=place)
                stack.callback(os.close, place)
            yield place
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            raise ImageNotFound(f"The workspace has no file {shown[:200]}.") from error
        raise PathRefused(_REFUSED) from error
