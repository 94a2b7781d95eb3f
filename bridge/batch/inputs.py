"""List the images of a batch: files, folders, patterns, standard input, manifests and URLs."""

import json
import os
import posixpath
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from heapq import nsmallest
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fsspec import AbstractFileSystem

from bridge.batch.folder import BatchError, file_info, is_local, open_url
from bridge.batch.models import ImageItem, Options
from perspectives import Perspective

IMAGES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif")
SIDECARS = (".txt", ".caption", ".json", ".jsonl", ".csv", ".parquet")
REFERENCES = ("image", "file_name", "path", "url")
"""Columns of a manifest that name the image."""
_PATTERN = re.compile(r"[*?\[]")
_DIGITS = re.compile(r"(\d+)")
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
class _Found:
    """What the inputs name, before the common folder is known. `images`: path, version, row of the manifest."""

    fs: AbstractFileSystem | None = None
    bases: set[str] = field(default_factory=set)
    images: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)

    def on(self, fs: AbstractFileSystem | None, url: str) -> None:
        """Record the file system of an input. Raises BatchError if another input has another one."""
        if self.bases and type(fs) is not type(self.fs):
            raise BatchError(
                f"'{url}' is on another file system than the inputs before it. Caption it in a second run."
            )
        self.fs = fs


def natural(key: str) -> tuple[list[str | int], str]:
    """Return a sort key that orders numbers in names by value: 2.jpg before 10.jpg."""
    return [int(part) if place % 2 else part for place, part in enumerate(_DIGITS.split(key))], key


def list_images(options: Options, perspectives: Iterable[Perspective]) -> Listing:
    """List the images of the inputs in natural order, each once. Raises BatchError."""
    found = _Found()
    for url in options.inputs:
        _add(url, options, found)
    if not found.images:
        ignored = ", ".join(f"{count} {reason}" for reason, count in found.ignored.items())
        raise BatchError(
            f"There is no image in {', '.join(options.inputs)}{f' (ignored: {ignored})' if ignored else ''}."
        )
    root = "" if found.fs is None else posixpath.commonpath(found.bases)
    if root == "/" and len(found.bases) > 1 and not options.output_dir:
        raise BatchError("The inputs have no folder in common. Say where to write with --output-dir.")
    columns = _Columns(perspectives)
    items = [
        ImageItem(_key(path, root), _url(path, found.fs), version, *columns.read(row, path))
        for path, (version, row) in found.images.items()
    ]
    items.sort(key=lambda item: natural(item.key))
    return Listing(found.fs, root, _selected(items, options), found.ignored)


def read_image(url: str, max_bytes: int) -> bytes:
    """Read an image; of a local file, at most one byte more than `max_bytes`. Raises OSError."""
    fs, path = open_url(url)
    if not is_local(fs):
        return bytes(fs.cat_file(path))
    with Path(path).open("rb") as file:
        return file.read(max_bytes + 1)


def _key(path: str, root: str) -> str:
    if not path.startswith(_HTTP):
        return path[len(root) :].lstrip("/")
    address = urlsplit(path)
    stem, extension = posixpath.splitext(address.path)
    query = f"-{_digest(address.query)[:8]}" if address.query else ""
    return f"{address.netloc}{stem}{query}{extension}"


def _url(path: str, fs: AbstractFileSystem | None) -> str:
    return path if fs is None or is_local(fs) else str(fs.unstrip_protocol(path))


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _selected(items: list[ImageItem], options: Options) -> list[ImageItem]:
    """Return the shard, then the sample, then the first images. All three depend only on the keys."""
    if options.shard:
        number, count = options.shard
        items = [item for item in items if int(_digest(item.key), 16) % count == number - 1]
    if options.sample is not None:
        chosen = {item.key for item in nsmallest(options.sample, items, key=lambda item: _digest("sample" + item.key))}
        items = [item for item in items if item.key in chosen]
    return items[: options.limit]


def _add(url: str, options: Options, found: _Found) -> None:
    if url == "-":
        for name in _lines():
            _add_file(name, {}, found)
    elif url.startswith(_HTTP):
        _add_file(url, {}, found)
    else:
        fs, path = open_url(url)
        if path.endswith(".jsonl") and fs.isfile(path):
            _add_manifest(fs, path, found)
        elif fs.isdir(path):
            _add_folder(fs, path, options, found)
        elif fs.exists(path):
            _add_file(url, {}, found)
        elif _PATTERN.search(path):
            _add_pattern(fs, path, url, options, found)
        else:
            raise BatchError(f"There is no file or folder '{url}'.")


def _lines() -> list[str]:
    """Return the paths on standard input, separated by lines, or by null characters (`find -print0`)."""
    content = sys.stdin.buffer.read()
    return [os.fsdecode(line) for line in content.split(b"\0" if b"\0" in content else b"\n") if line.strip()]


def _add_file(url: str, row: dict[str, Any], found: _Found, base: str = "") -> None:
    """Add a file that is named by itself: its name needs no extension of an image."""
    if url.startswith(_HTTP):
        found.on(None, url)
        found.bases.add("")
        found.images[url] = "", row
        return
    fs, path = open_url(url)
    found.on(fs, url)
    try:
        info = fs.info(path)
    except OSError:
        raise BatchError(f"There is no file '{url}'.") from None
    if reason := _reason(path, info, named=True):
        found.ignored[reason] += 1
        return
    found.bases.add(base or posixpath.dirname(path))
    found.images[path] = file_info(info), row


def _add_folder(fs: AbstractFileSystem, path: str, options: Options, found: _Found) -> None:
    found.on(fs, path)
    found.bases.add(path.rstrip("/"))
    for name, info in fs.find(path, maxdepth=1 if options.flat else None, detail=True).items():
        if reason := _reason(name[len(path.rstrip("/")) :], info):
            found.ignored[reason] += 1
        else:
            found.images[name] = file_info(info), {}


def _add_pattern(fs: AbstractFileSystem, path: str, url: str, options: Options, found: _Found) -> None:
    matches = fs.glob(path, detail=True)
    if not matches:
        raise BatchError(f"No file matches '{url}'.")
    found.on(fs, path)
    for name, info in matches.items():
        if info["type"] == "directory":
            if not path.endswith("**"):
                _add_folder(fs, name, options, found)
        elif reason := _reason(name, info, named=True):
            found.ignored[reason] += 1
        else:
            found.images[name] = file_info(info), {}
    found.bases.add(posixpath.dirname(path[: _PATTERN.search(path).start()]))  # type: ignore[union-attr]


def _reason(name: str, info: dict[str, Any], *, named: bool = False) -> str:
    """Return why a file is not captioned, "" if it is. `name`: relative to the folder; `named`: by the caller."""
    extension = posixpath.splitext(name)[1].lower()
    if info["type"] != "file" and not (info.get("islink") and Path(info["name"]).is_file()):
        return "not files"  # links to folders too: they may form a loop
    if any(part.startswith(".") for part in name.split("/")) and not named:
        return "hidden"
    if extension in IMAGES or (named and not extension):
        return ""
    return "sidecars" if extension in SIDECARS else "not images"


def _add_manifest(fs: AbstractFileSystem, path: str, found: _Found) -> None:
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
        if not isinstance(name, str):
            raise BatchError(f"Line {number} of '{path}' does not name its image with a text.")
        if "://" in name:
            _add_file(name, row, found)
        else:
            _add_file(_url(posixpath.join(base, name), fs), row, found, base)


class _Columns:
    """The columns of manifests: variables of the perspectives, and `context`."""

    def __init__(self, perspectives: Iterable[Perspective]) -> None:
        self._names = {variable.name for perspective in perspectives for variable in perspective.variables}

    def read(self, row: dict[str, Any], path: str) -> Iterator[Any]:
        """Yield the variables and the contexts of a row. Raises BatchError for an unknown column."""
        row = dict(row)
        context = row.pop("context", None) or ()
        if unknown := [name for name in row if name not in self._names]:
            known = ", ".join(sorted([*self._names, "context"]))
            raise BatchError(
                f"The manifest has a column '{unknown[0]}' (image '{path}'). The perspective knows the columns {known}."
            )
        yield {name: value if isinstance(value, str) else json.dumps(value) for name, value in row.items()}
        yield (context,) if isinstance(context, str) else tuple(map(str, context))
