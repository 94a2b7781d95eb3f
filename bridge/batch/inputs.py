"""List the images of a batch: files, folders, patterns, standard input, manifests and URLs."""

import itertools
import os
import posixpath
import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from heapq import nsmallest
from pathlib import Path
from urllib.parse import urlsplit

from fsspec import AbstractFileSystem

from bridge.batch.folder import BatchError, Folder, file_info, is_local, open_url
from bridge.batch.manifest import Columns, read_manifest
from bridge.batch.models import ImageItem
from bridge.batch.options import Options
from bridge.batch.text import listed
from perspectives import Perspective
from providers.base import JsonObject

IMAGES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif")
SIDECARS = (".txt", ".caption", ".json", ".jsonl", ".csv", ".parquet")
_FAILURES = re.compile(r"failures(-\d+of\d+)?\.jsonl")
_PATTERN = re.compile(r"[*?\[]")
_DIGITS = re.compile(r"(\d+)")
_UNMATCHED = "patterns without a match"
_HTTP = ("http://", "https://")


@dataclass(slots=True)
class Listing:
    """The images, and where they are.

    `fs`, `root`: the folder that contains all of them; `fs` is None for http(s). `ignored`: files that are not
    captioned, by reason.
    """

    fs: AbstractFileSystem | None
    root: str
    items: list[ImageItem]
    ignored: Counter[str]


@dataclass(slots=True)
class _Files:
    """The files of the inputs, before the common folder is known.

    `known`: the variables of the perspectives. `images`: versions and manifest rows, by path.
    """

    options: Options
    known: set[str]
    fs: AbstractFileSystem | None = None
    bases: set[str] = field(default_factory=set)
    images: dict[str, tuple[str, Columns | None]] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)

    def add(self, url: str, columns: Columns | None = None, base: str = "", *, is_listed: bool = True) -> None:
        """Add the images of an input. Raises BatchError and OSError.

        `columns`, `base`: other columns and folder of the manifest that lists the input. `is_listed`: whether a
        manifest or standard input names it, and not the command line, which may use patterns.
        """
        if not url:
            raise BatchError("An input is empty. Name a file, a folder, a pattern or a URL.")
        if url == "-" and not is_listed:
            for name in _lines():
                self.add(name)
        elif url.startswith(_HTTP):
            _check_host(url)
            self._add_image(None, "", url, "", columns)
        else:
            self._add_path(url, columns, base, is_listed=is_listed)

    def _add_path(self, url: str, columns: Columns | None, base: str, *, is_listed: bool) -> None:
        fs, path = open_url(url)
        pattern = None if is_listed else _PATTERN.search(path)
        if fs.isdir(path):
            base, named, infos = path, False, self._find(fs, path)
        elif fs.exists(path):
            if path.endswith(".jsonl") and columns is None and not _is_output(fs, path):
                self._add_manifest(fs, path)
                return
            is_below = bool(base) and path.startswith(f"{base.rstrip('/')}/")
            base, named, infos = base if is_below else posixpath.dirname(path), True, {path: fs.info(path)}
        elif pattern:
            base, named, infos = posixpath.dirname(path[: pattern.start()]), True, fs.glob(path, detail=True)
            if not infos:
                self.ignored[_UNMATCHED] += 1
        else:
            raise BatchError(f"There is no file or folder '{url}'.")
        for name, info in infos.items():
            if reason := _reason(name[len(base.rstrip("/")) :], info, named=named):
                self.ignored[reason] += 1
            else:
                self._add_image(fs, base.rstrip("/"), name, file_info(info), columns)

    def _add_manifest(self, fs: AbstractFileSystem, path: str) -> None:
        base = posixpath.dirname(path)
        for name, columns in read_manifest(path, fs.cat_file(path), self.options, self.known):
            place = posixpath.join(base, name)
            if not is_local(fs) and not {".", ".."}.isdisjoint(place.split("/")):
                place = posixpath.normpath(place)
            self.add(name if "://" in name else _url(place, fs), columns, base)

    def _add_image(
        self, fs: AbstractFileSystem | None, base: str, path: str, version: str, row: Columns | None
    ) -> None:
        """Add an image below the folder `base`. Raises BatchError for a second file system or a repeated row."""
        if self.bases and fs != self.fs:
            raise BatchError(f"'{path}' is on another file system than the inputs before. Caption it in a second run.")
        _, earlier = self.images.get(path, ("", None))
        if row is not None and earlier is not None:
            raise BatchError(f"The manifest names '{path}' twice.")
        self.fs = fs
        self.bases.add(base)
        self.images[path] = version, row or earlier

    def _find(self, fs: AbstractFileSystem, folder: str) -> dict[str, JsonObject]:
        """Return the files in a folder, by path. Local folders that cannot be read are counted as ignored."""
        if not is_local(fs):
            infos: dict[str, JsonObject] = fs.find(folder, maxdepth=1 if self.options.flat else None, detail=True)
            return infos
        infos, folders = {}, [folder]
        for each in folders:  # fsspec's `find` passes `on_error` only to the first folder
            try:
                listing = fs.ls(each, detail=True)
            except OSError:
                self.ignored["unreadable folders"] += 1
                continue
            infos |= {info["name"]: info for info in listing if info["type"] != "directory"}
            if not self.options.flat:
                folders += [info["name"] for info in listing if info["type"] == "directory"]
        return infos


def natural(key: str) -> tuple[list[str | tuple[int, str]], str]:
    """Return a sort key that orders numbers in names by value: 2.jpg before 10.jpg."""
    parts: list[str | tuple[int, str]] = list(_DIGITS.split(key))
    parts[1::2] = [(len(digits), digits) for digits in (str(part).lstrip("0") for part in parts[1::2])]
    return parts, key


def list_images(options: Options, perspectives: Iterable[Perspective]) -> Listing:
    """List the images of the inputs in natural order, each once. Raises BatchError."""
    files = _Files(options, {variable.name for perspective in perspectives for variable in perspective.variables})
    for url in options.inputs:
        try:
            files.add(url, is_listed=False)
        except OSError as error:
            raise BatchError(f"'{url}' cannot be read: {error.strerror or error}.") from None
    if not files.images:
        ignored = f" (ignored: {listed(files.ignored)})" if files.ignored else ""
        hint = " In patterns, *, ? and [ of a name are written [*], [?] and [[]." if files.ignored[_UNMATCHED] else ""
        raise BatchError(f"There is no image in {', '.join(options.inputs)}{ignored}.{hint}")
    root = "" if files.fs is None or "" in files.bases else posixpath.commonpath(files.bases)
    if root in ("", "/") and len(files.bases) > 1 and not options.output_dir:
        raise BatchError("The inputs have no folder in common. Say where to write with --output-dir.")
    items = [
        ImageItem(_key(path, root), _url(path, files.fs), version, *(columns or ()))
        for path, (version, columns) in files.images.items()
    ]
    if leaving := [item.url for item in items if ".." in item.key.split("/")]:
        raise BatchError(f"The path of '{leaving[0]}' contains '..'. Name it without.")
    items.sort(key=lambda item: natural(item.key))
    if twins := next((pair for pair in itertools.pairwise(items) if pair[0].key == pair[1].key), None):
        raise BatchError(
            f"'{twins[0].url}' and '{twins[1].url}' have the same path in the outputs, '{twins[0].key}'. Name one."
        )
    return Listing(files.fs, root, items, files.ignored)


def read_image(url: str, max_bytes: int) -> bytes:
    """Read an image. Of a file larger than `max_bytes`, one byte more is read than that. Raises OSError."""
    try:
        fs, path = open_url(url)
    except BatchError as error:
        raise OSError(str(error)) from None
    if not is_local(fs):
        try:
            return bytes(fs.cat_file(path, start=0, end=max_bytes + 1))  # without an end, s3fs sends two requests
        except OSError:
            if fs.size(path) == 0:  # S3 rejects a range of an empty object
                return b""
            raise
    with Path(path).open("rb") as file:
        is_large = os.fstat(file.fileno()).st_size > max_bytes
        return file.read(max_bytes + 1) if is_large else file.read()  # a limit allocates as much: 0.1 ms


def _key(path: str, root: str) -> str:
    if not path.startswith(_HTTP):
        return path[len(root) :].lstrip("/")
    address = urlsplit(path)
    stem, extension = posixpath.splitext(address.path)
    query = f"-{digest(address.query)[:8]}" if address.query else ""
    return f"{address.netloc}{stem}{query}{extension}"


def _url(path: str, fs: AbstractFileSystem | None) -> str:
    return path if fs is None or is_local(fs) else str(fs.unstrip_protocol(path))


def digest(text: str) -> str:
    """Return the SHA-256 of a text, which may be a file name that is not Unicode."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def shard(items: list[ImageItem], options: Options) -> list[ImageItem]:
    """Return the images of the shard. The choice depends only on the images' keys."""
    number, count = options.shard or (1, 1)
    return [item for item in items if int(digest(item.key), 16) % count == number - 1]


def select(items: list[ImageItem], options: Options) -> list[ImageItem]:
    """Apply the options `sample` and `limit`, in this order. The choice depends only on the images' keys."""
    if options.sample is not None:
        chosen = {item.key for item in nsmallest(options.sample, items, key=lambda item: digest("sample" + item.key))}
        items = [item for item in items if item.key in chosen]
    return items[: options.limit]


def _check_host(url: str) -> None:
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    if not host:
        raise BatchError(f"'{url}' is not a valid URL.")


def _is_output(fs: AbstractFileSystem, path: str) -> bool:
    """Return whether a batch wrote this JSONL file: a table that it has recorded, or a list of failures."""
    root, _, name = path.rpartition("/")
    folder = Folder(fs, root)
    if _FAILURES.fullmatch(name):
        return bool(folder.index_files())
    return any(name in folder.lines(record) for record in folder.matches(".graphcap*.tables"))


def _lines() -> list[str]:
    """Return the paths on standard input, one per line or separated by null characters (`find -print0`)."""
    content = sys.stdin.buffer.read()
    names = content.split(b"\0") if b"\0" in content else content.replace(b"\r\n", b"\n").split(b"\n")
    return [os.fsdecode(name) for name in names if name.strip()]


def _reason(name: str, info: JsonObject, *, named: bool) -> str:
    """Return the reason to ignore a file, or "". `name`: path in the folder. `named`: an input names it."""
    extension = posixpath.splitext(name)[1].lower()
    if info["type"] != "file" and not (info.get("islink") and Path(info["name"]).is_file()):
        return "not files"  # links to folders too: they may form a loop
    if any(part.startswith(".") for part in name.split("/")) and not named:
        return "hidden"
    if extension in IMAGES or (named and not extension):
        return ""
    return "sidecars" if extension in SIDECARS else "not images"
