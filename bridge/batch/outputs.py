"""Write the outputs of a batch: sidecars beside the images, and tables over all of them."""

import csv
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from importlib.util import find_spec
from itertools import groupby, islice
from pathlib import Path

from bridge.batch.folder import MAX_NAME, BatchError, Folder, to_line
from bridge.batch.index import Index
from bridge.batch.inputs import IMAGES
from bridge.batch.models import Failure, ImageItem, Row
from bridge.batch.options import Format, Options
from bridge.batch.text import TRAINERS
from providers.base import JsonObject

FAILURES = "failures.jsonl"
Writer = Callable[[Path, Iterator[Row], tuple[str, ...]], None]
"""Writes the rows of the perspectives to a file."""
_COLUMNS = ("file_name", "perspective", "text", "caption", "provider", "model", "sha256")
_TAKEN = (".", ".jsonl", ".csv", ".parquet")
_PARQUET_ROWS = 1000
_SHOWN = 3


class Outputs:
    """The files of one batch."""

    def __init__(self, folder: Folder, options: Options, perspectives: tuple[str, ...]) -> None:
        self._folder, self._options, self._perspectives = folder, options, perspectives
        trainer = TRAINERS.get(options.text.trainer)
        self._formats = tuple(dict.fromkeys(options.out or (trainer.outputs if trainer else ("txt",))))
        extensions = {"txt": options.extension, "json": ".json"}
        self._record = folder.labelled(".graphcap.tables")
        self._extensions = {each: extensions[each] for each in self._formats if each in extensions}

    def sidecars(self, key: str, perspective: str) -> dict[str, str]:
        """Return the name of each sidecar by its format. With several perspectives, each has its own sidecars."""
        directory, slash, name = key.rpartition("/")
        stem, dot, _ = name.rpartition(".")
        start = f"{directory}{slash}{stem if stem and dot else name}"
        part = f".{perspective}" if len(self._perspectives) > 1 else ""
        return {each: f"{start}{part}{extension}" for each, extension in self._extensions.items()}

    def _names(self, key: str) -> Iterator[str]:
        """Yield the name of each sidecar of an image."""
        return (name for perspective in self._perspectives for name in self.sidecars(key, perspective).values())

    def check(self, items: Iterable[ImageItem]) -> None:
        """Check the options, that the folder can be written without loss, and that no two images share a sidecar.

        Raises BatchError.
        """
        extension, has_texts = self._options.extension, "txt" in self._extensions
        if not has_texts and (extension != ".txt" or self._options.existing in ("append", "prepend")):
            raise BatchError("--ext, --existing append and --existing prepend concern text sidecars: add --out txt.")
        if has_texts and (extension == self._extensions.get("json") or extension.lower() in (*IMAGES, *_TAKEN)):
            raise BatchError(f"Text sidecars cannot have the extension '{extension}' (--ext): other files have it.")
        if "parquet" in self._formats and find_spec("pyarrow") is None:
            raise BatchError("--out parquet requires the package pyarrow. The extra graphcap-bridge[parquet] has it.")
        try:
            ignores_case, own = self._folder.ignores_case(), self._own_tables()
        except OSError as error:
            raise BatchError(
                f"The folder '{self._folder.url}' cannot be written: {error.strerror or error}. "
                "Name another one with --output-dir."
            ) from None
        foreign = (name for name, _ in self._tables() if name not in own and self._folder.is_filled(name))
        if self._options.existing != "overwrite" and (table := next(foreign, "")):
            raise BatchError(
                f"'{self._folder.path(table)}' was not written by this command. Move it, write elsewhere with "
                "--output-dir, or caption all images again with --existing overwrite."
            )
        self._check_sidecars(items, ignores_case=ignores_case)

    def _check_sidecars(self, items: Iterable[ImageItem], *, ignores_case: bool) -> None:
        owners: dict[str, str] = {}
        shared: dict[str, dict[str, None]] = defaultdict(dict)
        for item in items:
            for name in self._names(item.key):
                owner = owners.setdefault(name.casefold() if ignores_case else name, item.key)
                if owner != item.key:
                    shared[owner] |= {owner: None, item.key: None}
        if shared:
            shown = "; ".join(" and ".join(list(keys)[:_SHOWN]) for keys in list(shared.values())[:_SHOWN])
            raise BatchError(
                f"These images would have the same sidecar: {shown}{' …' * (len(shared) > _SHOWN)}. Rename or remove "
                "one of each, or write a table alone, with --out jsonl."
            )

    def warnings(self, items: Sequence[ImageItem]) -> Iterator[str]:
        """Yield a warning if the trainer does not find the text sidecars by the names of the images."""
        trainer = self._options.text.trainer
        if trainer and "txt" in self._extensions and len(self._perspectives) > 1 and items:
            name = self.sidecars(items[0].key, self._perspectives[0])["txt"]
            yield (
                f"{trainer} does not read '{name}': with several perspectives, sidecars have the perspective in their "
                "name. Caption with one --perspective per --output-dir."
            )

    def missing(self, key: str, perspective: str) -> tuple[str, ...]:
        """Return the formats whose sidecar does not exist, or is empty."""
        names = self.sidecars(key, perspective).items()
        return tuple(each for each, name in names if not self._folder.is_filled(name))

    def too_long(self, key: str) -> str:
        """Return the first name that is too long for a file, "" if none is."""
        parts = (name.rpartition("/")[2] for name in self._names(key))
        return next((part for part in parts if len(part.encode("utf-8", "surrogatepass")) > MAX_NAME), "")

    def text(self, key: str, perspective: str) -> str:
        """Return the text sidecar, "" if there is none. Bytes that are not UTF-8 are escaped; `write` restores them."""
        name = self.sidecars(key, perspective).get("txt")
        return (self._folder.read(name) or b"").decode("utf-8", "surrogateescape").strip() if name else ""

    def caption(self, key: str, perspective: str) -> JsonObject:
        """Return the JSON sidecar, {} if there is none of ours."""
        name = self.sidecars(key, perspective).get("json")
        try:
            caption = json.loads((self._folder.read(name) or b"{}") if name else b"{}")
        except ValueError:
            return {}
        return caption if isinstance(caption, dict) else {}

    def write(self, row: Row, formats: tuple[str, ...], text: str | None) -> None:
        """Write the row's sidecars in these formats. Raises OSError.

        `text`: content of the text sidecar, None to keep the file.
        """
        names = self.sidecars(row.key, row.perspective)
        for each in formats:
            if each == "json":
                self._folder.write(names[each], to_line(row.caption or {}))
            elif text is not None:
                self._folder.write(names[each], text.encode("utf-8", "surrogateescape"))

    def write_tables(self, items: list[ImageItem], index: Index) -> None:
        """Write every table: the rows of all images, in natural order. Raises OSError."""
        own, tables = self._own_tables(), dict(self._tables())
        if not own >= tables.keys():
            self._folder.write(self._record, "".join(f"{name}\n" for name in sorted(own | tables.keys())).encode())
        for name, write in tables.items():
            with self._folder.replacing(name) as file:
                write(file, self._rows(items, index), self._perspectives)
                is_empty = file.stat().st_size == 0
            if is_empty:  # `load_dataset` does not read it
                self._folder.remove(name)

    def _own_tables(self) -> set[str]:
        """Return the names of the tables that this command has written. Raises OSError."""
        return set(self._folder.lines(self._record))

    def _tables(self) -> Iterator[tuple[str, Writer]]:
        """Yield the name and the function of each table."""
        for each in self._formats:
            if each in _TABLES:
                name, write = _TABLES[each]
                yield self._folder.labelled(name), write

    def _rows(self, items: list[ImageItem], index: Index) -> Iterator[Row]:
        """Yield the rows in order. A text sidecar that is not in the index becomes a row with only a text.

        Such a row has a perspective only if the name of its sidecar has it.
        """
        for item in items:
            for perspective in self._perspectives:
                row = index.row(item.key, perspective)
                if row is not None:
                    yield row
                elif self._may_exist(item.key, perspective) and (text := self.text(item.key, perspective)):
                    name = perspective if len(self._perspectives) > 1 else ""
                    yield Row(item.key, name, text=text.encode("utf-8", "replace").decode())

    def _may_exist(self, key: str, perspective: str) -> bool:
        """Return whether a text sidecar may exist. In an object store, a request for each absent one would be slow."""
        name = self.sidecars(key, perspective).get("txt")
        return name is not None and (self._folder.is_local or self._folder.path(name) in self._stored)

    @cached_property
    def _stored(self) -> frozenset[str]:
        return frozenset(self._folder.fs.find(self._folder.root))


def write_failures(folder: Folder, failures: Iterable[Failure]) -> None:
    """Write the list of failures, or remove it if there are none. Raises OSError."""
    lines = b"".join(to_line(asdict(failure)) for failure in failures)
    name = folder.labelled(FAILURES)
    if lines:
        folder.write(name, lines)
    else:
        folder.remove(name)


def read_failures(folder: Folder) -> dict[str, Failure]:
    """Return the failures of the last run by path, without a shard also those of all shards. Raises BatchError."""
    names = (*_failures_of_shards(folder), folder.labelled(FAILURES))
    return {failure.path: failure for name in names for failure in _read_list(folder, name)}


def remove_failures_of_shards(folder: Folder) -> None:
    """Remove the lists of shards if this run is none. Its own list has their entries. Raises OSError."""
    for name in _failures_of_shards(folder):
        folder.remove(name)


def _read_list(folder: Folder, name: str) -> list[Failure]:
    """Read a list of failures. Raises BatchError if the file cannot be read or is not ours."""
    try:
        return [Failure(**json.loads(line)) for line in (folder.read(name) or b"").splitlines()]
    except (ValueError, TypeError):
        raise BatchError(f"'{folder.path(name)}' is not a list of failures. Remove it.") from None
    except OSError as error:
        raise BatchError(f"'{folder.path(name)}' cannot be read: {error.strerror or error}.") from None


def _failures_of_shards(folder: Folder) -> list[str]:
    """Return the names of the lists of all shards, none if this run is a shard."""
    names = folder.matches("failures-*.jsonl") if folder.label == "all" else []
    return [name for name in names if re.fullmatch(r"failures-\d+of\d+\.jsonl", name)]


def _flat(row: Row) -> JsonObject:
    """Return a row as the columns of a table."""
    caption = row.caption or {}
    values = {
        "file_name": row.key,
        "perspective": row.perspective,
        "text": row.text,
        "caption": json.dumps(caption["result"], ensure_ascii=False) if caption else "",
        "provider": caption.get("provider", ""),
        "model": caption.get("model", ""),
        "sha256": caption.get("provenance", {}).get("sha256", ""),
    }
    return {name: value.encode("utf-8", "surrogatepass").decode("utf-8", "replace") for name, value in values.items()}


def _write_csv(file: Path, rows: Iterator[Row], _: tuple[str, ...]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, _COLUMNS)
        writer.writeheader()
        writer.writerows(map(_flat, rows))


def _write_parquet(file: Path, rows: Iterator[Row], _: tuple[str, ...]) -> None:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    schema = pa.schema([(name, pa.string()) for name in _COLUMNS])
    with ParquetWriter(file, schema) as writer:
        while part := list(islice(rows, _PARQUET_ROWS)):
            writer.write_table(pa.Table.from_pylist(list(map(_flat, part)), schema))


def _write_jsonl(file: Path, rows: Iterator[Row], _: tuple[str, ...]) -> None:
    with file.open("wb") as stream:
        for row in rows:
            head = {"file_name": row.key, "perspective": row.perspective, "text": row.text}
            stream.write(to_line({**head, "caption": row.caption}))


def _write_hf_metadata(file: Path, rows: Iterator[Row], perspectives: tuple[str, ...]) -> None:
    """Write the metadata of a Hugging Face ImageFolder: a line per image, with a column per perspective."""
    with file.open("wb") as stream:
        for key, group in groupby(rows, lambda row: row.key):
            texts = {row.perspective: row.text for row in group}
            columns = texts if len(perspectives) > 1 else {"text": next(iter(texts.values()))}
            stream.write(to_line({"file_name": key, **columns}))


_TABLES: dict[Format, tuple[str, Writer]] = {
    "jsonl": ("captions.jsonl", _write_jsonl),
    "csv": ("captions.csv", _write_csv),
    "parquet": ("captions.parquet", _write_parquet),
    "hf-metadata": ("metadata.jsonl", _write_hf_metadata),
}
"""The name of each table, and the function that writes it."""
