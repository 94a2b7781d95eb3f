"""Decide what to do about an image that may have outputs from an earlier run."""

from dataclasses import dataclass, replace
from hashlib import sha256

from bridge.batch.index import Entry, Index
from bridge.batch.inputs import read_image
from bridge.batch.models import ImageItem, Row, Skipped
from bridge.batch.outputs import Outputs
from bridge.batch.rows import Job
from perspectives import Perspective


@dataclass(frozen=True, slots=True)
class NewCaption:
    """A caption is to be made. `formats`: the sidecars to write."""

    formats: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoredCaption:
    """A caption of the index is used. `formats`: the sidecars to write. `row`: their content. `event`: the report."""

    formats: tuple[str, ...]
    row: Row
    event: Skipped


Decision = NewCaption | StoredCaption | Skipped


class ExistingOutputs:
    """The outputs of earlier runs: the sidecars, and the rows of the index."""

    def __init__(self, job: Job, index: Index, outputs: Outputs) -> None:
        self._job, self._index, self._outputs = job, index, outputs
        self._existing = job.options.existing

    def decide(self, item: ImageItem, perspective: Perspective) -> Decision:
        """Return whether to skip, restore or caption a row. Raises OSError."""
        existing, key, name = self._existing, item.key, perspective.name
        every, entry = tuple(self._outputs.sidecars(key, name)), self._index.find(key, name)
        if existing == "overwrite":
            if entry is None or not (entry.is_overwriting and self._is_current(entry, item, perspective)):
                return NewCaption(every)
            return self._from_index(entry, every, item, perspective)
        missing = self._outputs.missing(key, name)
        if existing == "skip":
            return self._skip(entry, missing, item, perspective)
        if existing == "stale":
            old = self._outputs.text(key, name)
            if old and self._source(key, name, old) is None:
                return Skipped(key, name, kept=True)
            if self._is_of_another(key, name):
                missing = every
            elif not missing and every and entry is None:
                return Skipped(key, name)
        if entry is None:  # an existing JSON file is not ours
            return NewCaption(tuple(each for each in every if each in ("txt", *missing)))
        if not self._is_current(entry, item, perspective):
            return NewCaption(every)
        return self._from_index(entry, missing, item, perspective)

    def new_text(self, row: Row) -> str | None:
        """Return the new content of a row's text sidecar, None to keep the old one. Raises OSError.

        `--existing stale` replaces what this command wrote, and keeps other words.
        """
        if self._existing in ("skip", "overwrite"):
            return row.text
        old = self._outputs.text(row.key, row.perspective)
        if self._existing == "append":
            return _joined(old, row.text)
        if self._existing == "prepend":
            return _joined(row.text, old)
        if not old:
            return row.text
        source = self._source(row.key, row.perspective, old)
        return _replaced(old, source.text, row.text) if source else None

    def _skip(
        self, entry: Entry | None, missing: tuple[str, ...], item: ImageItem, perspective: Perspective
    ) -> Decision:
        """Return whether to skip, restore or caption a row with `--existing skip`. Raises OSError.

        With a row in the index, the missing sidecars are restored from it, so that all sidecars have one caption.
        """
        key, name = item.key, perspective.name
        every, is_of_another = tuple(self._outputs.sidecars(key, name)), self._is_of_another(key, name)
        if entry is None:
            return NewCaption(missing) if missing or not every else Skipped(key, name, outdated=is_of_another)
        is_outdated = is_of_another or self._differs(entry, item, perspective)
        is_changed = bool(entry.version and item.version) and entry.version != item.version
        skipped = Skipped(key, name, outdated=is_outdated, changed=is_changed)
        if not missing:
            return skipped
        if missing == every and not self._has_image(entry, item):
            return NewCaption(missing)
        row, keeps_text = entry.row(), "txt" in every and "txt" not in missing
        if not keeps_text and self._has_request(entry, item, perspective):
            row, skipped = self._with_text(row, item, perspective), replace(skipped, outdated=is_of_another)
        if not keeps_text and self._job.requires_text and not row.text:
            return NewCaption(missing)
        return StoredCaption(missing, row, replace(skipped, restored=True))

    def _from_index(
        self, entry: Entry, missing: tuple[str, ...], item: ImageItem, perspective: Perspective
    ) -> Decision:
        """Return which sidecars to write with the caption of the index, at least those in `missing`. Raises OSError."""
        key, name = item.key, perspective.name
        every, is_changed = tuple(self._outputs.sidecars(key, name)), self._differs(entry, item, perspective)
        row = self._with_text(entry.row(), item, perspective)
        if self._job.requires_text and not row.text:
            return NewCaption(every)
        is_added = self._existing in ("append", "prepend")
        if is_added:
            is_there = not row.text or f", {row.text}, " in f", {self._outputs.text(key, name)}, "
            formats = tuple(each for each in missing if each != "txt") if is_there else every
        else:  # a crash may have left the sidecars of the earlier row
            formats = every if is_changed or entry.earlier else missing
        if not formats and (is_added or not is_changed):
            return Skipped(key, name)
        return StoredCaption(formats, row, Skipped(key, name, restored=True))

    def _with_text(self, row: Row, item: ImageItem, perspective: Perspective) -> Row:
        """Return a row with the text that the current options make of its caption."""
        assert row.caption is not None
        content_key = self._job.content_key(item, perspective, _image_digest(row))
        return replace(row, text=self._job.text(perspective.name, row.caption), content_key=content_key)

    def _differs(self, entry: Entry, item: ImageItem, perspective: Perspective) -> bool:
        """Return whether a row was made from another request, or its text with other options."""
        return entry.content_key != self._job.content_key(item, perspective, _image_digest(entry))

    def _is_of_another(self, key: str, perspective: str) -> bool:
        """Return whether another perspective made the sidecars. Raises OSError."""
        others = self._others(key, perspective)
        if not others:
            return False
        if self._outputs.caption(key, perspective).get("perspective") in others:
            return True
        source = self._source(key, perspective, self._outputs.text(key, perspective))
        return source is not None and source.perspective != perspective

    def _source(self, key: str, perspective: str, text: str) -> Row | None:
        """Return the row of the index whose text a sidecar's text contains, None if there is none. Raises OSError."""
        names = (perspective, *self._others(key, perspective))
        rows = (row for name in names for row in self._index.rows(key, name))
        return next((row for row in rows if row.text and _replaced(text, row.text, "") is not None), None)

    def _others(self, key: str, perspective: str) -> list[str]:
        """Return the other perspectives with rows of an image, none if each perspective has its own sidecars."""
        return self._index.others(key, perspective) if len(self._job.perspectives) == 1 else []

    def _is_current(self, entry: Entry, item: ImageItem, perspective: Perspective) -> bool:
        """Return whether the row was made from the current image and request."""
        return self._has_request(entry, item, perspective) and self._has_image(entry, item)

    def _has_request(self, entry: Entry, item: ImageItem, perspective: Perspective) -> bool:
        """Return whether the row was made from the current request."""
        return entry.content_key.split("-")[0] == self._job.request_key(item, perspective)

    def _has_image(self, entry: Entry, item: ImageItem) -> bool:
        """Return whether the row was made from the current image."""
        if entry.version == item.version:
            return True
        try:
            data = read_image(item.url, self._job.services.limits.max_bytes)
        except OSError:
            return False  # reported when the image is loaded
        return sha256(data).hexdigest() == _image_digest(entry)


def _joined(*texts: str) -> str:
    return ", ".join(filter(None, texts))


def _replaced(old: str, own: str, new: str) -> str | None:
    """Return the content `old` with `new` in place of `own`, None if it neither begins nor ends with `own`."""
    if old == own:
        return new
    if old.endswith(f", {own}"):
        return _joined(old.removesuffix(f", {own}"), new)
    if old.startswith(f"{own}, "):
        return _joined(new, old.removeprefix(f"{own}, "))
    return None


def _image_digest(row: Entry | Row) -> str:
    return row.content_key.partition("-")[2].partition("-")[0]
