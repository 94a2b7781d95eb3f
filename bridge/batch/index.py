"""The index of a folder: the rows of all runs. With it, no image is captioned twice, and every output can be written.

It is `.graphcap.jsonl` in the output folder, with one JSON object per line. The last row of an image and perspective
counts. A run appends each row before it writes the row's sidecars, and joins the rows at its end. Each shard has a
file (`.graphcap-2of8.jsonl`). An object store cannot append: there each row is an object in the folder `.graphcap/`.

A run with `--existing overwrite` flags its rows until such a run is finished, so that it continues after a crash. A row
that replaces a flagged row is flagged too.
"""

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Self

from bridge.batch.folder import BatchError, Folder, to_line
from bridge.batch.inputs import digest, natural
from bridge.batch.models import Row
from providers.base import JsonObject

_FLAG = "overwriting"
_PARTS_AT_ONCE = 256
_FIELDS = tuple(field.name for field in fields(Row) if field.name != "failure")


@dataclass(frozen=True, slots=True)
class Entry:
    """The place of a row in a file of the index, and the versions of the row's content and image.

    `is_overwriting`: whether an unfinished run with `--existing overwrite` has made the row. `earlier`: the row that it
    replaces. Until the rows are joined, the sidecars may still be made from that row.
    """

    file: Path
    start: int
    end: int
    content_key: str
    version: str
    is_overwriting: bool = False
    earlier: "Entry | None" = None

    def line(self) -> bytes:
        """Return the line of the row. Raises OSError."""
        with self.file.open("rb") as file:
            file.seek(self.start)
            return file.read(self.end - self.start)

    def row(self) -> JsonObject:
        """Return the row without its flag. Raises OSError."""
        row: JsonObject = json.loads(self.line())
        row.pop(_FLAG, None)
        return row


class Index:
    """The rows of a folder. `append` may be called in several threads."""

    def __init__(self, folder: Folder, *, is_overwriting: bool = False) -> None:
        """`is_overwriting`: whether the run overwrites all rows."""
        self._folder, self._is_overwriting = folder, is_overwriting
        self._name = ".graphcap.jsonl" if folder.label == "all" else f".graphcap-{folder.label}.jsonl"
        self._parts = self._name.removesuffix(".jsonl")
        self._entries: dict[tuple[str, str], Entry] = {}
        self._perspectives: dict[str, None] = {}
        self._lock = Lock()
        self._is_joined = True
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Read the rows of earlier runs, and lock the index. Raises BatchError and OSError."""
        with ExitStack() as stack:
            if self._folder.is_local:
                directory = Path(self._folder.path(""))
                directory.mkdir(parents=True, exist_ok=True)
            else:
                directory = Path(stack.enter_context(TemporaryDirectory(prefix="graphcap-")))
            self._file = directory / self._name
            self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            stack.callback(os.close, self._descriptor)
            if self._folder.is_local:
                self._lock_file()
            paths = self._read_all(directory)
            if not (paths or self._folder.is_local):
                self._folder.write(self._name, b"")  # the tables of a run without captions belong to this command, too
            self._size = os.lseek(self._descriptor, 0, os.SEEK_END)
            if self._size and os.pread(self._descriptor, 1, self._size - 1) != b"\n":
                self._size += os.write(self._descriptor, b"\n")  # a crash left half a row
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def reading(self) -> Iterator[Self]:
        """Read the rows of earlier runs. The folder is not changed or locked. Raises OSError."""
        with TemporaryDirectory(prefix="graphcap-") as temporary:
            directory = Path(self._folder.path("") if self._folder.is_local else temporary)
            self._file = directory / self._name
            self._read_all(directory)
            yield self

    def _read_all(self, directory: Path) -> list[Path]:
        """Read the files of the index, and return them. `directory`: where they are, or are copied to."""
        if self._folder.is_local:
            times = self._folder.index_files()
            paths = [directory / name for name in sorted(times, key=lambda name: times[name])]
        else:
            paths = self._download(directory)
        for path in paths:
            self._read(path)
        return paths

    def _download(self, directory: Path) -> list[Path]:
        """Copy the index of an object store, a file for each shard. Return the files in the order of their changes."""
        times = self._folder.index_files()
        names = sorted(times, key=lambda name: (times[name], "/" in name, name))
        files: dict[Path, None] = {}
        for number in range(0, len(names), _PARTS_AT_ONCE):
            some = names[number : number + _PARTS_AT_ONCE]
            paths = [self._folder.path(name) for name in some]
            contents = self._folder.fs.cat_ranges(paths, None, None, on_error="raise")  # `cat` expands patterns
            for name, content in zip(some, contents, strict=True):
                shard, slash, _ = name.partition("/")
                path = directory / f"{shard.removesuffix('.jsonl')}.jsonl"
                with path.open("ab") as file:
                    file.write(content)
                files.pop(path, None)
                files[path] = None
                self._is_joined &= not slash
        return list(files)

    def _lock_file(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
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
                    is_overwriting = path == self._file and _FLAG in row
                    entry = Entry(path, start, end, row["content_key"], row["version"], is_overwriting)
                    self._add(row["key"], row["perspective"], entry)
                except (ValueError, TypeError, KeyError):
                    continue  # half a row, from a crash

    def _add(self, key: str, perspective: str, entry: Entry) -> None:
        earlier = self._entries.get((key, perspective))
        self._is_joined &= earlier is None and not (entry.is_overwriting and self._is_overwriting)
        self._entries[key, perspective] = replace(entry, earlier=earlier)
        self._perspectives.setdefault(perspective)

    def find(self, key: str, perspective: str) -> Entry | None:
        """Return the last row of an image and perspective, None if there is none."""
        return self._entries.get((key, perspective))

    def others(self, key: str, perspective: str) -> list[str]:
        """Return the other perspectives that have a row of this image."""
        return [name for name in list(self._perspectives) if name != perspective and (key, name) in self._entries]

    def row(self, key: str, perspective: str) -> Row | None:
        """Read the last row of an image and perspective. Raises OSError."""
        return next(self.rows(key, perspective), None)

    def rows(self, key: str, perspective: str) -> Iterator[Row]:
        """Yield the last row of an image and perspective, then those that it replaces. Raises OSError."""
        entry = self.find(key, perspective)
        while entry is not None:
            yield Row(**entry.row())
            entry = entry.earlier

    def append(self, row: Row) -> None:
        """Add a row. Raises OSError."""
        earlier = self.find(row.key, row.perspective)
        is_overwriting = self._is_overwriting or (earlier is not None and earlier.is_overwriting)
        line = to_line({name: getattr(row, name) for name in _FIELDS} | ({_FLAG: True} if is_overwriting else {}))
        with self._lock:
            written = os.write(self._descriptor, line)
            if written < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            entry = Entry(self._file, self._size, self._size + written, row.content_key, row.version, is_overwriting)
            self._size += written
            self._is_joined = False
        if not self._folder.is_local:
            self._folder.write(f"{self._parts}/{digest(f'{row.key} {row.perspective}')}.jsonl", line)
        self._add(row.key, row.perspective, entry)

    def join(self) -> None:
        """Rewrite the index with one row per image and perspective, in natural order.

        In a local folder, no row can be read or appended afterwards. Raises OSError.
        """
        if self._is_joined:
            return
        keys = sorted(self._entries, key=lambda pair: (natural(pair[0]), pair[1]))
        own = [entry for key in keys if (entry := self._entries[key]).file == self._file]
        file = self._folder.temporary(self._name) if self._folder.is_local else self._file.with_suffix(".joined")
        with file.open("wb") as joined:
            for entry in own:
                is_finished = self._is_overwriting and entry.is_overwriting
                joined.write(to_line(entry.row()) if is_finished else entry.line())
        self._folder.put(file, self._name)
        if not self._folder.is_local:
            self._folder.remove(self._parts)
