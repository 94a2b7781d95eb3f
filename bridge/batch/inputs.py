"""List the images of a batch: files, folders, patterns, standard input, manifests and URLs."""

import json
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

from bridge.batch.folder import BatchError, file_info, is_local, open_url
from bridge.batch.models import ImageItem
from bridge.batch.options import Options
from bridge.batch.text import listed
from perspectives import Perspective
from providers.base import JsonObject

IMAGES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif")
SIDECARS = (".txt", ".caption", ".json", ".jsonl", ".csv", ".parquet")
REFERENCES = ("image", "file_name", "path", "url")
"""Columns of a manifest that name the image."""
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
    """The files of the inputs, before the common folder is known. `images`: versions and manifest rows, by path."""

    fs: AbstractFileSystem | None = None
    bases: set[str] = field(default_factory=set)
    images: dict[str, tuple[str, JsonObject]] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)

    def add(self, fs: AbstractFileSystem | None, base: str, path: str, version: str, row: JsonObject | None) -> None:
        """Add an image below the folder `base`. Raises BatchError for a second file system or a repeated row."""
        if self.bases and fs != self.fs:
            raise BatchError(f"'{path}' is on another file system than the inputs before. Caption it in a second run.")
        if row is not None and path in self.images:
            raise BatchError(f"The manifest names '{path}' twice.")
        self.fs = fs
        self.bases.add(base)
        self.images[path] = version, row or {}


def natural(key: str) -> tuple[list[str | int], str]:
    """Return a sort key that orders numbers in names by value: 2.jpg before 10.jpg."""
    return [int(part) if place % 2 else part for place, part in enumerate(_DIGITS.split(key))], key


def list_images(options: Options, perspectives: Iterable[Perspective]) -> Listing:
    """List the images of the inputs in natural order, each once. Raises BatchError."""
    files = _Files()
    for url in options.inputs:
        try:
            _add(url, options, files)
        except OSError as error:
            raise BatchError(f"'{url}' cannot be read: {error.strerror or error}.") from None
    if not files.images:
        ignored = f" (ignored: {listed(files.ignored)})" if files.ignored else ""
        hint = " In patterns, *, ? and [ of a name are written [*], [?] and [[]." if files.ignored[_UNMATCHED] else ""
        raise BatchError(f"There is no image in {', '.join(options.inputs)}{ignored}.{hint}")
    root = "" if files.fs is None or "" in files.bases else posixpath.commonpath(files.bases)
    if root in ("", "/") and len(files.bases) > 1 and not options.output_dir:
        raise BatchError("The inputs have no folder in common. Say where to write with --output-dir.")
    known = {variable.name for perspective in perspectives for variable in perspective.variables}
    items = [
        ImageItem(_key(path, root), _url(path, files.fs), version, *_read_columns(row, known, path))
        for path, (version, row) in files.images.items()
    ]
    if leaving := [item.url for item in items if ".." in item.key.split("/")]:
        raise BatchError(f"The path of '{leaving[0]}' contains '..'. Name it without.")
    items.sort(key=lambda item: natural(item.key))
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


def _add(url: str, options: Options, files: _Files, row: JsonObject | None = None, base: str = "") -> None:
    """Add the images of an input. `row`, `base`: other columns and folder of the manifest that lists the input."""
    if url == "-":
        for name in _lines():
            _add(name, options, files)
        return
    if url.startswith(_HTTP):
        files.add(None, "", url, "", row)
        return
    fs, path = open_url(url)
    if fs.isdir(path):
        base, named, infos = path, False, fs.find(path, maxdepth=1 if options.flat else None, detail=True)
    elif fs.exists(path):
        if path.endswith(".jsonl") and row is None:
            _add_manifest(fs, path, options, files)
            return
        is_below = bool(base) and path.startswith(f"{base.rstrip('/')}/")
        base, named, infos = base if is_below else posixpath.dirname(path), True, {path: fs.info(path)}
    elif pattern := _PATTERN.search(path):
        base, named, infos = posixpath.dirname(path[: pattern.start()]), True, fs.glob(path, detail=True)
        files.ignored[_UNMATCHED] += not infos
    else:
        raise BatchError(f"There is no file or folder '{url}'.")
    for name, info in infos.items():
        if reason := _reason(name[len(base.rstrip("/")) :], info, named=named):
            files.ignored[reason] += 1
        else:
            files.add(fs, base.rstrip("/"), name, file_info(info), row)


def _lines() -> list[str]:
    """Return the paths on standard input, one per line or separated by null characters (`find -print0`)."""
    content = sys.stdin.buffer.read()
    names = content.split(b"\0") if b"\0" in content else content.replace(b"\r\n", b"\n").split(b"\n")
    return [os.fsdecode(name) for name in names if name.strip()]


def _reason(name: str, info: JsonObject, *, named: bool = False) -> str:
    """Return the reason to ignore a file, or "". `name`: path in the folder. `named`: an input names it."""
    extension = posixpath.splitext(name)[1].lower()
    if info["type"] != "file" and not (info.get("islink") and Path(info["name"]).is_file()):
        return "not files"  # links to folders too: they may form a loop
    if any(part.startswith(".") for part in name.split("/")) and not named:
        return "hidden"
    if extension in IMAGES or (named and not extension):
        return ""
    return "sidecars" if extension in SIDECARS else "not images"


def _add_manifest(fs: AbstractFileSystem, path: str, options: Options, files: _Files) -> None:
    base = posixpath.dirname(path)
    for number, line in enumerate(fs.cat_file(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            name = next(row.pop(column) for column in REFERENCES if column in row)
        except (ValueError, AttributeError, StopIteration):
            raise BatchError(
                f"Line {number} of '{path}' is not a JSON object with one of the columns {', '.join(REFERENCES)}."
            ) from None
        place = posixpath.join(base, str(name))
        if not is_local(fs) and not {".", ".."}.isdisjoint(place.split("/")):
            place = posixpath.normpath(place)
        url = str(name) if "://" in str(name) else _url(place, fs)
        _add(url, options, files, row, base)


def _read_columns(row: JsonObject, known: set[str], path: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the variables and the contexts in a row of a manifest. Raises BatchError for an unknown column."""
    variables = {name: value for name, value in row.items() if name != "context"}
    if unknown := [name for name in variables if name not in known]:
        columns = ", ".join(sorted([*known, "context"]))
        raise BatchError(
            f"The manifest has a column '{unknown[0]}' (image '{path}'). The perspective knows the columns {columns}."
        )
    context = row.get("context") or ()
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in variables.items()}
    return texts, (context,) if isinstance(context, str) else tuple(map(str, context))
