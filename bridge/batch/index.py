"""The index of a folder: the rows of all runs, so that no image is captioned twice and every output can be written.

It is `.graphcap.jsonl` in the output folder, with one JSON object per line; the last row of an image and perspective
counts. A row is appended before its sidecars are written. A shard has a file of its own (`.graphcap-2of8.jsonl`). An
object store cannot append: there each row is an object in `.graphcap-all/`, and the end of the run joins them.
"""

import errno
import json
import os
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from threading import Lock
from typing import Self

from bridge.batch.folder import BatchError, Folder, to_line
from bridge.batch.inputs import digest, natural
from bridge.batch.models import Row

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_MARK = "overwriting"
_FIELDS = tuple(field.name for field in fields(Row) if field.name != "failure")


@dataclass(frozen=True, slots=True)
class Entry:
    """The place of a row in a file of the index, and the versions of the row's content and image."""

    file: Path
    start: int
    end: int
    content_key: str
    version: str


class Index:
    """The rows of a folder. `append` may be called in several threads."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._name = ".graphcap.jsonl" if folder.label == "all" else f".graphcap-{folder.label}.jsonl"
        self._parts = f".graphcap-{folder.label}"
        self._entries: dict[tuple[str, str], Entry] = {}
        self._lock = Lock()
        self._appended = 0
        self._mark: int | None = None

    def __enter__(self) -> Self:
        """Read the rows of earlier runs, and lock the index. Raises BatchError and OSError."""
        folder = self._folder
        if folder.is_local:
            self._file = Path(folder.path(self._name))
            self._file.parent.mkdir(parents=True, exist_ok=True)
        else:
            descriptor, name = tempfile.mkstemp(prefix="graphcap-")
            os.close(descriptor)
            self._file = Path(name)
        self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        if folder.is_local:
            self._lock_file()
            for path in sorted(Path(folder.root).glob(".graphcap*.jsonl")):
                self._read(path)
        else:
            patterns = (folder.path(".graphcap*.jsonl"), folder.path(".graphcap-*/*"))
            stored = [name for pattern in patterns for name in sorted(folder.fs.glob(pattern))]
            for start in range(0, len(stored), 256):
                os.write(self._descriptor, b"".join(folder.fs.cat(stored[start : start + 256]).values()))
            self._read(self._file)
        self._size = os.lseek(self._descriptor, 0, os.SEEK_END)
        if self._size and os.pread(self._descriptor, 1, self._size - 1) != b"\n":
            self._size += os.write(self._descriptor, b"\n")  # a crash left half a row
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
        if not self._folder.is_local:
            self._file.unlink()

    def _lock_file(self) -> None:
        try:
            if fcntl is not None:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise BatchError(
                f"Another run writes to '{self._folder.root}'. Wait for its end, or give each run a --shard."
            ) from None
        except OSError:
            return  # some network file systems have no locks

    def _read(self, path: Path) -> None:
        end = 0
        with path.open("rb") as file:
            for line in file:
                start, end = end, end + len(line)
                try:
                    row = json.loads(line)
                    if _MARK in row:
                        self._mark = start if path == self._file else self._mark
                        continue
                    entry = Entry(path, start, end, row["content_key"], row["version"])
                    self._entries[row["key"], row["perspective"]] = entry
                except (ValueError, TypeError, KeyError):
                    continue  # half a row, from a crash

    def find(self, key: str, perspective: str) -> Entry | None:
        """Return the last row of an image and perspective, None if there is none."""
        return self._entries.get((key, perspective))

    def row(self, key: str, perspective: str) -> Row | None:
        """Read the last row of an image and perspective. Raises OSError."""
        entry = self.find(key, perspective)
        return None if entry is None else Row(**json.loads(_line(entry)))

    def begin_overwriting(self) -> None:
        """Mark where a run begins to overwrite. If an earlier such run did not end, its rows count as written now."""
        if self._mark is None:
            self._mark = self._size
            self._size += os.write(self._descriptor, to_line({_MARK: True}))

    def is_overwritten(self, key: str, perspective: str) -> bool:
        """Return whether the row was appended after the mark."""
        entry = self.find(key, perspective)
        return entry is not None and self._mark is not None and entry.file == self._file and entry.start >= self._mark

    def append(self, row: Row) -> None:
        """Add a row. Raises OSError."""
        line = to_line({name: getattr(row, name) for name in _FIELDS})
        with self._lock:
            written = os.write(self._descriptor, line)
            if written < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            entry = Entry(self._file, self._size, self._size + written, row.content_key, row.version)
            self._size += written
            self._appended += 1
        if not self._folder.is_local:
            self._folder.write(f"{self._parts}/{digest(f'{row.key} {row.perspective}')}.jsonl", line)
        self._entries[row.key, row.perspective] = entry

    def join(self) -> None:
        """Write the index anew: one row per image and perspective, in natural order.

        No row can be read or appended afterwards. Raises OSError.
        """
        if not self._appended:
            return
        keys = sorted(self._entries, key=lambda pair: (natural(pair[0]), pair[1]))
        own = [entry for key in keys if (entry := self._entries[key]).file == self._file]
        file = self._folder.temporary(self._name) if self._folder.is_local else self._file.with_suffix(".joined")
        with file.open("wb") as joined:
            joined.writelines(map(_line, own))
        self._folder.put(file, self._name)
        if not self._folder.is_local:
            self._folder.remove(self._parts)


def _line(entry: Entry) -> bytes:
    with entry.file.open("rb") as file:
        file.seek(entry.start)
        return file.read(entry.end - entry.start)
