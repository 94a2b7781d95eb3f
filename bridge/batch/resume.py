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
    """`formats`: the sidecars to write. `row`: their row in the index, None to make a new caption.

    `restored`: the event of a row in the index.
    """

    formats: tuple[str, ...]
    row: Row | None = None
    restored: Skipped | None = None


def decide(item: ImageItem, perspective: Perspective, job: Job, index: Index, outputs: Outputs) -> Decision | Skipped:
    """Return whether to skip, restore or caption a row. Raises OSError."""
    existing, key, name = job.options.existing, item.key, perspective.name
    every, entry = tuple(outputs.sidecars(key, name)), index.find(key, name)
    if existing == "overwrite":
        if entry is None or not (entry.is_overwriting and _is_current(entry, item, perspective, job)):
            return Decision(every)
        return _from_index(entry, every, item, perspective, job, outputs)
    missing = outputs.missing(key, name)
    if existing == "skip":
        return _skip(missing, item, perspective, job, index, outputs)
    if existing == "stale":
        if merged(existing, outputs.text(key, name), own_texts(index, key, name, job), "") is None:
            return Skipped(key, name, kept=True)
        if _is_of_another(key, name, job, index, outputs):
            missing = every
        elif not missing and every and entry is None:
            return Skipped(key, name)
    if entry is None:  # an existing JSON file is not ours
        return Decision(tuple(each for each in every if each in ("txt", *missing)))
    if not _is_current(entry, item, perspective, job):
        return Decision(every)
    return _from_index(entry, missing, item, perspective, job, outputs)


def _skip(
    missing: tuple[str, ...], item: ImageItem, perspective: Perspective, job: Job, index: Index, outputs: Outputs
) -> Decision | Skipped:
    """Return whether to skip, restore or caption a row with `--existing skip`. Raises OSError.

    With a row in the index, the missing sidecars are restored from it, so that all sidecars have one caption.
    """
    key, name = item.key, perspective.name
    every, entry = tuple(outputs.sidecars(key, name)), index.find(key, name)
    is_of_another = _is_of_another(key, name, job, index, outputs)
    skipped = Skipped(key, name, outdated=is_of_another)
    if entry is not None:
        is_outdated = is_of_another or _differs(entry, item, perspective, job)
        is_changed = bool(entry.version and item.version) and entry.version != item.version
        skipped = replace(skipped, outdated=is_outdated, changed=is_changed)
    if not missing and (every or entry):
        return skipped
    if entry is None or (missing == every and not _has_image(entry, item, job)):
        return Decision(missing)
    row, keeps_text = entry.row(), "txt" in every and "txt" not in missing
    if not keeps_text and _has_request(entry, item, perspective, job):
        row, skipped = _with_text(row, item, perspective, job), replace(skipped, outdated=is_of_another)
    if not keeps_text and job.requires_text and not row.text:
        return Decision(missing)
    return Decision(missing, row, replace(skipped, restored=True))


def _from_index(
    entry: Entry, missing: tuple[str, ...], item: ImageItem, perspective: Perspective, job: Job, outputs: Outputs
) -> Decision | Skipped:
    """Return which sidecars to write with the caption of the index, at least those in `missing`. Raises OSError."""
    existing, key, name = job.options.existing, item.key, perspective.name
    every, is_changed = tuple(outputs.sidecars(key, name)), _differs(entry, item, perspective, job)
    row = _with_text(entry.row(), item, perspective, job)
    if job.requires_text and not row.text:
        return Decision(every)
    formats = missing
    if existing in ("append", "prepend"):
        is_there = not row.text or f", {row.text}, " in f", {outputs.text(key, name)}, "
        formats = tuple(each for each in missing if each != "txt") if is_there else every
    elif existing == "overwrite" or (existing == "stale" and (is_changed or entry.earlier)):
        # A crash may have left the sidecars of the earlier row.
        formats = every
    if not formats and not (is_changed and existing in ("overwrite", "stale")):
        return Skipped(key, name)
    return Decision(formats, row, Skipped(key, name, restored=True))


def _with_text(row: Row, item: ImageItem, perspective: Perspective, job: Job) -> Row:
    """Return a row with the text that the current options make of its caption."""
    assert row.caption is not None
    text, content_key = job.text(perspective.name, row.caption), job.content_key(item, perspective, _image_digest(row))
    return replace(row, text=text, content_key=content_key)


def own_texts(index: Index, key: str, perspective: str, job: Job) -> Iterator[str]:
    """Yield the texts that this command may have left in a text sidecar, the last one of the perspective first.

    With one perspective, the sidecar does not have its name, so the text may be another one's. Raises OSError.
    """
    names = (perspective, *index.others(key, perspective)) if len(job.perspectives) == 1 else (perspective,)
    return (row.text for name in names for row in index.rows(key, name) if row.text)


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


def _image_digest(row: Entry | Row) -> str:
    return row.content_key.partition("-")[2].partition("-")[0]


def _is_of_another(key: str, perspective: str, job: Job, index: Index, outputs: Outputs) -> bool:
    """Return whether another perspective made the sidecars, whose names do not have the perspective. Raises OSError."""
    others = index.others(key, perspective) if len(job.perspectives) == 1 else []
    if not others:
        return False
    if outputs.caption(key, perspective).get("perspective") in others:
        return True
    old = outputs.text(key, perspective)
    own = (row.text for row in index.rows(key, perspective) if row.text)
    return (
        bool(old)
        and merged("stale", old, own, "") is None
        and (merged("stale", old, own_texts(index, key, perspective, job), "") is not None)
    )


def _is_current(entry: Entry, item: ImageItem, perspective: Perspective, job: Job) -> bool:
    """Return whether the row was made from the current image and request."""
    return _has_request(entry, item, perspective, job) and _has_image(entry, item, job)


def _has_request(entry: Entry, item: ImageItem, perspective: Perspective, job: Job) -> bool:
    """Return whether the row was made from the current request."""
    return entry.content_key.split("-")[0] == job.request_key(item, perspective)


def _has_image(entry: Entry, item: ImageItem, job: Job) -> bool:
    """Return whether the row was made from the current image."""
    if entry.version == item.version:
        return True
    try:
        return sha256(read_image(item.url, job.services.limits.max_bytes)).hexdigest() == _image_digest(entry)
    except OSError:
        return False  # reported when the image is loaded
