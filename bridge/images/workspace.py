"""Read one file of the workspace, and never a file outside it.

The path is opened component by component, starting from the open workspace directory. The system follows no symbolic
link; each link is read here, and its target is opened in the same way. If a directory is replaced by a link during
this, the path still cannot lead out of the workspace.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from bridge.errors import ImageNotFound, ImageTooLarge, PathRefused
from bridge.images.limits import MIB

MOUNT = "/workspace/"
_MOST_LINKS = 40
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
# Opening a FIFO to read would wait for a writer.
_FILE = _OPEN | os.O_NONBLOCK | os.O_NOCTTY
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[/\\]")
# The same sentence for every rejection: it must not reveal which files exist.
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
    """Read a regular file inside the workspace.

    Raises PathRefused for every path outside the workspace, whether it exists or not, and for directories, devices and
    pipes; ImageNotFound if the workspace has no such file; ImageTooLarge if the file exceeds `max_bytes`.
    """
    parts = inside(path)
    shown = "/".join(parts)
    with _opened(parts, workspace, shown) as file:
        facts = os.fstat(file)
        if not stat.S_ISREG(facts.st_mode):
            raise PathRefused(_REFUSED)
        if path.endswith(("/", "/.")):
            raise ImageNotFound(f"{shown} is a file, not a directory.")
        return _all(file, facts.st_size, max_bytes)


def _all(file: int, size: int, max_bytes: int) -> bytes:
    if size <= max_bytes:
        with os.fdopen(os.dup(file), "rb") as stream:
            data = stream.read(max_bytes + 1)
        size = len(data)
    if size > max_bytes:
        raise ImageTooLarge(f"The image is larger than {max_bytes / MIB:.3g} MiB (GRAPHCAP_MAX_IMAGE_BYTES).")
    return data


@contextmanager
def _opened(parts: list[str], workspace: Path, shown: str) -> Iterator[int]:
    walk = _Walk(workspace)
    try:
        yield walk.open(parts)
    except OSError as error:
        raise _error(error, shown) from error
    finally:
        walk.close()


def _error(error: OSError, shown: str) -> ImageNotFound | PathRefused:
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
        return ImageNotFound(f"The workspace has no file {shown[:200]}.")
    return PathRefused(_REFUSED)


class _Walk:
    """A stack of open directories, from the workspace down to the current one."""

    def __init__(self, workspace: Path) -> None:
        self._root = os.path.realpath(workspace)
        self._stack: list[int] = []

    def open(self, parts: list[str]) -> int:
        """Open the last component. Raises PathRefused if a link leads out, OSError if the component is missing."""
        self._stack.append(os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        todo = list(reversed(parts))
        links = 0
        while todo:
            name = todo.pop()
            if name == "..":
                self._up()
                continue
            kind = os.stat(name, dir_fd=self._stack[-1], follow_symlinks=False).st_mode
            if stat.S_ISLNK(kind):
                links += 1
                todo += reversed(self._target(name, links))
            else:
                last = not todo and not stat.S_ISDIR(kind)
                self._stack.append(os.open(name, _FILE if last else _OPEN | os.O_DIRECTORY, dir_fd=self._stack[-1]))
        return self._stack[-1]

    def _up(self) -> None:
        if len(self._stack) == 1:
            raise PathRefused(_REFUSED)
        os.close(self._stack.pop())

    def _target(self, name: str, links: int) -> list[str]:
        """Return the components of a link's target. An absolute target is resolved from the workspace root."""
        if links > _MOST_LINKS:
            raise PathRefused(_REFUSED)
        target = os.readlink(name, dir_fd=self._stack[-1])
        if target.startswith("/"):
            below = os.path.normpath(target).removeprefix(self._root.rstrip("/"))
            if below == os.path.normpath(target) or not below.startswith("/"):
                raise PathRefused(_REFUSED)
            while len(self._stack) > 1:
                self._up()
            target = below
        return [part for part in target.split("/") if part not in ("", ".")]

    def close(self) -> None:
        """Close every open directory, and the file."""
        for descriptor in self._stack:
            os.close(descriptor)
