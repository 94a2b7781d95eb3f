"""Decide what to do about an image that may have outputs from an earlier run."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256

from bridge.batch.index import Entry, Index
from bridge.batch.inputs import read_image
from bridge.batch.models import ImageItem, Row, Skipped
from bridge.batch.options import Existing
from bridge.batch.outputs import Outputs
from bridge.batch.rows import Job
from perspectives import Perspective


@dataclass(frozen=True, slots=True)
class Decision:
    """`formats`: the sidecars to write. `row`: their row in the index, None to make a new caption."""

    formats: tuple[str, ...]
    row: Row | None = None


def decide(item: ImageItem, perspective: Perspective, job: Job, index: Index, outputs: Outputs) -> Decision | Skipped:
    """Return whether to skip, restore or caption a row. Raises OSError."""
    existing, key, name = job.options.existing, item.key, perspective.name
    every, skipped = tuple(outputs.sidecars(key, name)), Skipped(key, name)
    entry = index.find(key, name)
    if existing == "overwrite":
        if entry is None or not (entry.is_overwriting and _is_current(entry, item, perspective, job)):
            return Decision(every)
        return _from_index(entry, every, item, perspective, job, outputs)
    missing = outputs.missing(key, name)
    if existing == "skip" and not missing and (every or entry):
        return replace(skipped, outdated=entry is not None and _differs(entry, item, perspective, job))
    if existing == "stale" and merged(existing, outputs.text(key, name), own_texts(index, key, name), "") is None:
        return replace(skipped, kept=True)
    if existing == "stale" and not missing and every and entry is None:
        return skipped
    if entry is None or not _is_current(entry, item, perspective, job):
        return Decision(missing if existing == "skip" else every)
    return _from_index(entry, missing, item, perspective, job, outputs)


def _from_index(
    entry: Entry, missing: tuple[str, ...], item: ImageItem, perspective: Perspective, job: Job, outputs: Outputs
) -> Decision | Skipped:
    """Return which sidecars to write with the caption of the index, at least those in `missing`. Raises OSError."""
    existing, key, name = job.options.existing, item.key, perspective.name
    every, row = tuple(outputs.sidecars(key, name)), Row(**entry.row())
    assert row.caption is not None
    if existing == "skip" and "txt" in every and "txt" not in missing:
        return Decision(missing, row)  # the text sidecar keeps its text, and so does the row
    text, is_changed = job.text(name, row.caption), _differs(entry, item, perspective, job)
    if job.requires_text and not text:
        return Decision(every)
    formats = missing
    if existing in ("append", "prepend"):
        is_there = not text or f", {text}, " in f", {outputs.text(key, name)}, "
        formats = tuple(each for each in missing if each != "txt") if is_there else every
    elif existing == "overwrite" or (existing == "stale" and (is_changed or entry.earlier)):
        # A crash may have left the sidecars of the earlier row.
        formats = every
    if not formats and not (is_changed and existing in ("overwrite", "stale")):
        return Skipped(key, name)
    content_key = job.content_key(item, perspective, _image_digest(entry))
    return Decision(formats, replace(row, text=text, content_key=content_key))


def own_texts(index: Index, key: str, perspective: str) -> Iterator[str]:
    """Yield the texts that this command may have left in a text sidecar, the last one first. Raises OSError."""
    return (row.text for row in index.rows(key, perspective) if row.text)


def merged(existing: Existing, old: str, own: Iterable[str], text: str) -> str | None:
    """Return the new content of a text sidecar, None to keep the old one.

    `old`: its content. `own`: the texts of the index for it, which `stale` replaces; other words are kept.
    """
    if existing == "append":
        return ", ".join(filter(None, (old, text)))
    if existing == "prepend":
        return ", ".join(filter(None, (text, old)))
    if existing != "stale" or not old:
        return text
    for each in own:
        if old == each:
            return text
        if old.endswith(f", {each}"):
            return ", ".join(filter(None, (old.removesuffix(f", {each}"), text)))
        if old.startswith(f"{each}, "):
            return ", ".join(filter(None, (text, old.removeprefix(f"{each}, "))))
    return None


def _differs(entry: Entry, item: ImageItem, perspective: Perspective, job: Job) -> bool:
    """Return whether a row was made from another request, or its text with other options."""
    return entry.content_key != job.content_key(item, perspective, _image_digest(entry))


def _image_digest(entry: Entry) -> str:
    return entry.content_key.partition("-")[2].partition("-")[0]


def _is_current(entry: Entry, item: ImageItem, perspective: Perspective, job: Job) -> bool:
    """Return whether the row was made from the current image and request."""
    if entry.content_key.split("-")[0] != job.request_key(item, perspective):
        return False
    if entry.version == item.version:
        return True
    try:
        return sha256(read_image(item.url, job.services.limits.max_bytes)).hexdigest() == _image_digest(entry)
    except OSError:
        return False  # reported when the image is loaded
