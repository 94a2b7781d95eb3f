"""The index of a folder: the rows of all runs. With it, no image is captioned twice, and every output can be written.

It is `.graphcap.jsonl` in the output folder, with one JSON object per line. The last row of an image and perspective
counts, by the time in the rows, because a copied file has a new time. A run appends each row before it writes the row's
sidecars, and joins the rows at its end. Each shard has a file (`.graphcap-2of8.jsonl`). An object store cannot append:
there each row is an object in the folder `.graphcap/`.

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
from time import time_ns
from typing import IO, Self

from bridge.batch.folder import BatchError, Folder, to_line
from bridge.batch.inputs import digest, natural
from bridge.batch.models import Row
from providers.base import JsonObject

_FLAG = "overwriting"
_PARTS_AT_ONCE = 256
_FIELDS = tuple(field.name for field in fields(Row) if field.name != "failure")
_TIME = "time"
"""Microseconds since 1970, and more than in the row that it replaces."""
_TEXTS = ("key", "perspective", "content_key", "version", "text")


@dataclass(frozen=True, slots=True)
class Entry:
    """The place of a row in a file of the index, and the versions of the row's content and image.

    `file`: a descriptor, which reads the same file after another one has got its name. `is_overwriting`: whether an
    unfinished run with `--existing overwrite` has made the row. `earlier`: the row that it replaces. Until the rows are
    joined, the sidecars may still be made from that row.
    """

    file: int
    start: int
    end: int
    content_key: str
    version: str
    time: int = 0
    is_overwriting: bool = False
    earlier: "Entry | None" = None

    def line(self) -> bytes:
        """Return the line of the row. Raises OSError."""
        return os.pread(self.file, self.end - self.start, self.start)

    def row(self) -> Row:
        """Return the row, without the fields that only another version knows. Raises OSError."""
        values: JsonObject = json.loads(self.line())
        return Row(**{name: values[name] for name in _FIELDS if name in values})


class Index:
    """The rows of a folder. `append` may be called in several threads."""

    def __init__(self, folder: Folder, *, is_overwriting: bool = False) -> None:
        """`is_overwriting`: whether the run overwrites all rows."""
        self._folder, self._is_overwriting = folder, is_overwriting
        self._name = folder.labelled(".graphcap.jsonl")
        self._parts = self._name.removesuffix(".jsonl")
        self._entries: dict[tuple[str, str], Entry] = {}
        self._perspectives: dict[str, None] = {}
        self._descriptor = -1
        self._lock = Lock()
        self._is_joined = True
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Lock the folder, and read the rows of earlier runs. Raises BatchError and OSError."""
        with ExitStack() as stack:
            if self._folder.is_local:
                directory = Path(self._folder.path(""))
                directory.mkdir(parents=True, exist_ok=True)
                self._lock_folder(stack)
            else:
                directory = Path(stack.enter_context(TemporaryDirectory(prefix="graphcap-")))
            own = directory / self._name
            self._descriptor = os.open(own, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            stack.callback(os.close, self._descriptor)
            self._read_all(directory, stack)
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
        with TemporaryDirectory(prefix="graphcap-") as temporary, ExitStack() as stack:
            self._read_all(Path(self._folder.path("") if self._folder.is_local else temporary), stack)
            yield self

    def _read_all(self, directory: Path, stack: ExitStack) -> None:
        """Read the files of the index, which are open until `stack` is closed. Raises OSError.

        `directory`: where they are, or are copied to.
        """
        if self._folder.is_local:
            times = self._folder.index_files()
            paths = [directory / name for name in sorted(times, key=lambda name: times[name])]
        else:
            paths = self._download(directory)
        files = [stack.enter_context(path.open("rb")) for path in paths]
        rows = [row for path, file in zip(paths, files, strict=True) for row in self._read(file, path.name)]
        rows.sort(key=lambda row: row[1].time)
        for pair, entry in rows:
            self._add(pair, entry)

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

    def _lock_folder(self, stack: ExitStack) -> None:
        """Lock the folder against other runs; shards exclude only a run without a shard, and one of the same label.

        The files of the locks are not renamed or removed, because a run may lock them at any time. Raises BatchError.
        """
        own = self._folder.labelled(".graphcap.lock")
        for name in dict.fromkeys((".graphcap.lock", own)):
            mode = fcntl.LOCK_EX if name == own else fcntl.LOCK_SH
            descriptor = os.open(self._folder.path(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            stack.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BatchError(
                    f"Another run writes to '{self._folder.root}'. Wait for its end, or give each run a --shard."
                ) from None
            except OSError:
                return  # some network file systems have no locks

    def _read(self, file: IO[bytes], name: str) -> Iterator[tuple[tuple[str, str], Entry]]:
        """Yield the rows of a file, without those that are half written or of an unknown form."""
        end, is_own = 0, name == self._name
        descriptor = self._descriptor if is_own and self._descriptor >= 0 else file.fileno()
        for line in file:
            start, end = end, end + len(line)
            try:
                row = json.loads(line)
                time, texts = row.get(_TIME, 0), [row[name] for name in _TEXTS]
                is_known = isinstance(row["caption"]["result"], dict) and isinstance(time, int)
            except (ValueError, TypeError, KeyError, AttributeError):
                continue
            if is_known and all(isinstance(text, str) for text in texts):
                key, perspective, content_key, version, _ = texts
                entry = Entry(descriptor, start, end, content_key, version, time, is_own and _FLAG in row)
                yield (key, perspective), entry

    def _add(self, pair: tuple[str, str], entry: Entry) -> None:
        earlier = self._entries.get(pair)
        self._is_joined &= earlier is None and not (entry.is_overwriting and self._is_overwriting)
        self._entries[pair] = replace(entry, earlier=earlier)
        self._perspectives.setdefault(pair[1])

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
            yield entry.row()
            entry = entry.earlier

    def append(self, row: Row) -> None:
        """Add a row. Raises OSError."""
        earlier = self.find(row.key, row.perspective)
        is_overwriting = self._is_overwriting or (earlier is not None and earlier.is_overwriting)
        time = max(time_ns() // 1000, earlier.time + 1 if earlier else 0)
        values = {name: getattr(row, name) for name in _FIELDS} | {_TIME: time}
        line = to_line(values | ({_FLAG: True} if is_overwriting else {}))
        with self._lock:
            written = os.write(self._descriptor, line)
            if written < len(line):
                os.ftruncate(self._descriptor, self._size)  # the next row begins a line
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            start, self._size = self._size, self._size + written
            entry = Entry(self._descriptor, start, self._size, row.content_key, row.version, time, is_overwriting)
            self._is_joined = False
        if not self._folder.is_local:
            self._folder.write(f"{self._parts}/{digest(f'{row.key} {row.perspective}')}.jsonl", line)
        self._add((row.key, row.perspective), entry)

    def join(self) -> None:
        """Rewrite the index with one row per image and perspective, in natural order.

        In a local folder, no row can be appended afterwards. Raises OSError.
        """
        if self._is_joined:
            return
        keys = sorted(self._entries, key=lambda pair: (natural(pair[0]), pair[1]))
        own = [entry for key in keys if (entry := self._entries[key]).file == self._descriptor]
        with self._folder.replacing(self._name) as file, file.open("wb") as joined:
            for entry in own:
                line = entry.line()
                if self._is_overwriting and entry.is_overwriting:
                    row = json.loads(line)
                    del row[_FLAG]
                    line = to_line(row)
                joined.write(line)
        if not self._folder.is_local:
            self._folder.remove(self._parts)
