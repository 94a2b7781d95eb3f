"""Decide what to do about an image that may have outputs from an earlier run."""

from dataclasses import dataclass, replace
from hashlib import sha256

from bridge.batch.index import Entry, Index
from bridge.batch.inputs import read_image
from bridge.batch.models import ImageItem, Row
from bridge.batch.outputs import Outputs
from bridge.batch.rows import Job
from perspectives import Perspective


@dataclass(frozen=True, slots=True)
class Decision:
    """Write the sidecars in `forms`. `row`: the row from the index to write, None to make a new caption."""

    forms: tuple[str, ...]
    row: Row | None = None


def decide(item: ImageItem, perspective: Perspective, job: Job, index: Index, outputs: Outputs) -> Decision | None:
    """Return what to do about a row, None to skip it. Raises OSError."""
    existing, key, name = job.options.existing, item.key, perspective.name
    every = tuple(outputs.sidecars(key, name))
    if existing == "overwrite":
        return None if index.is_overwritten(key, name) else Decision(every)
    missing, entry = outputs.missing(key, name), index.find(key, name)
    has_outputs = not missing and bool(every or entry)
    if has_outputs and (existing == "skip" or (existing == "stale" and entry is None)):
        return None
    if entry is None or not _is_current(entry, item, perspective, job):
        return Decision(missing if existing == "skip" else every)
    row = index.row(key, name)
    assert row is not None and row.caption is not None  # noqa: PT018
    text = job.text(name, row.caption)
    forms = missing
    if existing in ("append", "prepend") and text in outputs.text(key, name):
        forms = tuple(form for form in missing if form != "txt")
    elif (existing != "skip" and text != row.text) or existing in ("append", "prepend"):
        forms = every
    return Decision(forms, replace(row, text=text)) if forms or (text != row.text and existing == "stale") else None


def _is_current(entry: Entry, item: ImageItem, perspective: Perspective, job: Job) -> bool:
    """Return whether a caption made now would be made from the same image and request."""
    request_key, _, digest = entry.content_key.partition("-")
    if request_key != job.request_key(item, perspective):
        return False
    if entry.version == item.version:
        return True
    try:
        return sha256(read_image(item.url, job.services.limits.max_bytes)).hexdigest() == digest
    except OSError:
        return False  # reported when the image is loaded
