"""Decide what to do about an image that may have outputs from an earlier run."""

from dataclasses import dataclass, replace
from hashlib import sha256

from bridge.batch.index import Entry, Index
from bridge.batch.inputs import read_image
from bridge.batch.models import Existing, ImageItem, Row, Skipped
from bridge.batch.outputs import Outputs
from bridge.batch.rows import Job
from perspectives import Perspective


@dataclass(frozen=True, slots=True)
class Decision:
    """Write the sidecars in `forms`. `row`: the row from the index to write, None to make a new caption."""

    forms: tuple[str, ...]
    row: Row | None = None


def decide(item: ImageItem, perspective: Perspective, job: Job, index: Index, outputs: Outputs) -> Decision | Skipped:
    """Return what to do about a row. Raises OSError."""
    existing, key, name = job.options.existing, item.key, perspective.name
    every, skipped = tuple(outputs.sidecars(key, name)), Skipped(key, name)
    if existing == "overwrite":
        if not index.is_overwritten(key, name):
            return Decision(every)
        row = index.row(key, name)  # a crash may have come before its sidecars were written
        return Decision(every, row) if every and row else skipped
    missing, entry = outputs.missing(key, name), index.find(key, name)
    if existing == "skip" and not missing and (every or entry):
        return skipped
    row = index.row(key, name)
    if existing == "stale" and merged(existing, outputs.text(key, name), row.text if row else "", "") is None:
        return replace(skipped, kept=True)
    if existing == "stale" and not missing and every and entry is None:
        return skipped
    if entry is None or not _is_current(entry, item, perspective, job):
        return Decision(missing if existing == "skip" else every)
    assert row is not None and row.caption is not None  # noqa: PT018
    text = job.text(name, row.caption)
    forms = missing
    if existing in ("append", "prepend") and text in outputs.text(key, name):
        forms = tuple(form for form in missing if form != "txt")
    elif (existing != "skip" and text != row.text) or existing in ("append", "prepend"):
        forms = every
    return Decision(forms, replace(row, text=text)) if forms or (text != row.text and existing == "stale") else skipped


def merged(existing: Existing, old: str, own: str, text: str) -> str | None:
    """Return the content of a text sidecar that receives a text, None if its content is to be kept.

    `old`: its content. `own`: the text that the index has for it, which `stale` replaces; other words are kept.
    """
    before = after = ""
    if existing == "append":
        before = old
    elif existing == "prepend":
        after = old
    elif existing == "stale" and old not in ("", own):
        if own and old.endswith(f", {own}"):
            before = old.removesuffix(f", {own}")
        elif own and old.startswith(f"{own}, "):
            after = old.removeprefix(f"{own}, ")
        else:
            return None
    return ", ".join(filter(None, (before, text, after)))


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
