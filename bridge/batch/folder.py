"""A folder on any file system that fsspec reads: local or a bucket. Names are paths below the folder, with `/`."""

import errno
import glob
import itertools
import json
import os
import posixpath
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from threading import Lock
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from providers.base import JsonObject

MAX_NAME = 255
"""Bytes of the longest file name that common file systems accept."""


class BatchError(Exception):
    """The batch cannot start, because of its options or inputs. The text is one sentence."""


def is_local(fs: AbstractFileSystem) -> bool:
    """Return whether this is the file system of this machine."""
    return isinstance(fs, LocalFileSystem)


def open_url(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a path or URL, and the path there, without `..` if it is local. Raises BatchError."""
    if "://" not in url:
        return LocalFileSystem(), _absolute(os.path.expanduser(url))  # noqa: PTH111 (`~name` may be a file)
    if "::" in url:
        raise BatchError(f"'{url}' cannot be opened: fsspec reads '::' as a chain of URLs. Rename it.")
    try:
        fs, path = url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        raise BatchError(
            f"'{url}' requires a package: {error}. The extra graphcap-bridge[cloud] has those for s3, gs and hf."
        ) from None
    except Exception as error:  # noqa: BLE001 (each file system has its own)
        raise BatchError(f"'{url}' cannot be opened: {error}") from None
    return (LocalFileSystem(), _absolute(path)) if is_local(fs) else (_Remote(fs), path)


def _absolute(path: str) -> str:
    """Return an absolute path without `..`. A link in the last place is kept, because it names the image."""
    parts = Path(path).absolute()
    if parts.name == "..":
        parts = parts.resolve()
    elif ".." in parts.parts:  # the folder before it may be a link
        parts = parts.parent.resolve() / parts.name
    return parts.as_posix()


@dataclass(frozen=True, slots=True)
class _Remote:
    """A file system whose methods raise no errors but OSError. Those of fsspec raise the errors of their SDKs."""

    _fs: AbstractFileSystem

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._fs, name)
        return partial(self._call, value) if callable(value) else value

    @staticmethod
    def _call(method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return method(*arguments, **options)
        except OSError:
            raise
        except Exception as error:  # of botocore, google-auth, httpx …
            raise OSError(f"{type(error).__name__}: {error}") from error


class Folder:
    """A folder. `label`: distinguishes the temporary files of runs that write to it at the same time."""

    def __init__(self, fs: AbstractFileSystem, root: str, label: str = "all") -> None:
        self.fs, self.root, self.label = fs, root.rstrip("/"), label
        self.is_local = is_local(fs)
        self.url = self.root if self.is_local else str(fs.unstrip_protocol(self.root))
        self._numbers = itertools.count()
        self._ready: set[str] = set()
        self._lock = Lock()

    def path(self, name: str) -> str:
        """Return the path of a file of the folder."""
        return f"{self.root}/{name}"

    def labelled(self, name: str) -> str:
        """Return the name of a file, with the label of a shard: `.graphcap-2of8.jsonl` for `.graphcap.jsonl`."""
        stem, extension = posixpath.splitext(name)
        return name if self.label == "all" else f"{stem}-{self.label}{extension}"

    def is_filled(self, name: str) -> bool:
        """Return whether this name exists and is not an empty file. Links are not followed."""
        missing = OSError if self.is_local else FileNotFoundError  # a local name may be too long, too
        try:
            size = os.lstat(self.path(name)).st_size if self.is_local else self.fs.size(self.path(name))
        except missing:
            return False
        return bool(size != 0)

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, or None if the file does not exist."""
        try:
            content: bytes = self.fs.cat_file(self.path(name))
        except OSError as error:  # a local name may be too long, too
            if isinstance(error, FileNotFoundError) or error.errno == errno.ENAMETOOLONG:
                return None
            raise
        return content

    def lines(self, name: str) -> list[str]:
        """Return the lines of a text file, none if the file does not exist. Raises OSError."""
        return (self.read(name) or b"").decode().splitlines()

    def write(self, name: str, data: bytes) -> None:
        """Write a file atomically: a reader sees the old content or the new one, even after a crash. Raises OSError."""
        if self.is_local:
            with self.replacing(name) as file:
                file.write_bytes(data)
            return
        with self._named_errors(name):
            self.fs.pipe_file(self.path(name), data)

    @contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        """Yield an unused path of this machine. At the end, that file replaces `name`. Raises OSError."""
        if self.is_local:
            file = self.temporary(name)
            with self._named_errors(name, file):
                yield file
                file.replace(self.path(name))
            return
        with TemporaryDirectory(prefix="graphcap-") as directory, self._named_errors(name, Path(directory, "file")):
            yield Path(directory, "file")
            self.fs.put_file(f"{directory}/file", self.path(name))

    @contextmanager
    def _named_errors(self, name: str, temporary: Path | None = None) -> Iterator[None]:
        """Add the name to each OSError that has none, or that of the temporary file."""
        try:
            yield
        except OSError as error:
            if error.filename in (None, str(temporary)):
                raise OSError(error.errno, error.strerror or str(error), f"{self.url}/{name}") from error
            raise

    def index_files(self) -> dict[str, str]:
        """Return the names of the index files and of their rows in an object store, with the times of their changes."""
        start = self.path("")
        if self.is_local:
            return {path.name: str(path.stat().st_mtime_ns) for path in Path(start).glob(".graphcap*.jsonl")}
        found = list(self.fs.glob(f"{glob.escape(start)}.graphcap*", detail=True).values())
        found += [
            part for info in found if info["type"] == "directory" for part in self.fs.ls(info["name"], detail=True)
        ]
        return {info["name"][len(start) :]: changed(info) for info in found if info["name"].endswith(".jsonl")}

    def temporary(self, name: str) -> Path:
        """Return an unused path in the directory of `name`, which is created if missing. Raises OSError.

        The files that an earlier run left there are removed: call this only while the folder is locked. The names are
        short, because `name` may be as long as the file system allows.
        """
        directory = posixpath.dirname(self.path(name))
        with self._lock:
            number = next(self._numbers)
            if directory not in self._ready:
                Path(directory).mkdir(parents=True, exist_ok=True)
                for left in Path(directory).glob(f".graphcap-{self.label}-*.tmp"):
                    left.unlink(missing_ok=True)
                self._ready.add(directory)
        return Path(directory, f".graphcap-{self.label}-{number}.tmp")

    def ignores_case(self) -> bool:
        """Return whether the file system ignores case. Writes and removes a test file. Raises OSError.

        If the folder does not exist, the file is in the folder where it would be created.
        """
        if not self.is_local:
            name = f".graphcap-{self.label}-probe.tmp"
            self.write(name, b"")
            self.remove(name)
            return False
        path = Path(self.path(""))
        directory = next(each for each in (path, *path.parents) if os.path.lexists(each))
        with NamedTemporaryFile(dir=directory, prefix=".graphcap-probe-", suffix=".tmp") as file:
            return os.path.lexists(type(self)(self.fs, str(directory)).path(Path(file.name).name.upper()))

    def matches(self, pattern: str) -> list[str]:
        """Return the names of the files in the folder itself that match a pattern."""
        if self.is_local:
            return sorted(path.name for path in Path(self.path("")).glob(pattern))
        return sorted(posixpath.basename(path) for path in self.fs.glob(f"{glob.escape(self.path(''))}{pattern}"))

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with its content. Do nothing if the name does not exist."""
        with suppress(FileNotFoundError):
            path = self.path(name)
            self.fs.rm(path if self.is_local else glob.escape(path), recursive=True)


def to_line(value: JsonObject) -> bytes:
    """Return a JSON object as one line. A file name that is not UTF-8 is escaped, and read back unchanged."""
    try:
        return json.dumps(value, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value).encode() + b"\n"


def file_info(info: JsonObject) -> str:
    """Return a text that changes when a listed file changes: its size, and a digest or the time of change."""
    if info.get("islink"):
        try:
            stat = os.stat(info["name"])  # noqa: PTH116 (names may contain surrogates)
        except OSError:
            return ""
        return f"{stat.st_size}-{stat.st_mtime}"
    tags = (info.get(name) for name in ("ETag", "etag", "blob_id", "xet_hash"))  # s3; gs, az; hf
    tag = next(filter(None, tags), "") or changed(info)
    return f"{info.get('size')}-{str(tag).strip(chr(34))}"


def changed(info: JsonObject) -> str:
    """Return when a listed file was changed, "" if the file system does not say."""
    return str(info.get("mtime") or info.get("LastModified") or info.get("last_modified") or "")
