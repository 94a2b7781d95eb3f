"""Write the report of a run: one HTML page with thumbnails, captions, failures and histograms, which needs no network.

File names and captions are untrusted: they are escaped, and the page's content security policy allows no script but its
own.
"""

import asyncio
import re
import shutil
from base64 import b64encode
from collections import Counter
from contextlib import suppress
from hashlib import sha256
from html import escape
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Self

from bridge.batch.folder import BatchError
from bridge.batch.models import Captioned, Event, Failed, ImageItem, Row
from bridge.batch.rows import load
from bridge.batch.summary import Summary
from bridge.batch.text import printable
from bridge.captioning.services import Services
from bridge.images.prepare import prepare
from bridge.images.sources import from_upload
from providers.profiles import ImageProfile

_THUMBNAIL = ImageProfile(frozenset({"image/jpeg"}), size=160, max_bytes=8192)
_PARALLEL = 4
_BARS = 20
_TOP_TAGS = 40
_MAX_TEXT = 2000
_PAGE = Path(__file__).with_name("report.html").read_text(encoding="utf-8")
_GENERATOR = b'<meta name="generator" content="graphcap batch">'
_START = 1000
"""Bytes of a report that contain `_GENERATOR`."""
_HEAD, _TAIL = _PAGE.split("<!-- rows -->")


def new_file(report: Path) -> IO[bytes]:
    """Return a temporary file beside a report. Raises BatchError if the report cannot be written there.

    A report of an earlier run is replaced, any other file is not.
    """
    try:
        if report.exists() and not (report.is_file() and _is_replaceable(report)):
            raise BatchError(f"'{report}' is not a report, and is not replaced (--report). Name another file.")
        return TemporaryFile(dir=report.parent)
    except OSError as error:
        raise BatchError(f"The report '{report}' cannot be written: {error.strerror} (--report).") from None


def _is_replaceable(file: Path) -> bool:
    with file.open("rb") as stream:
        start = stream.read(_START)
    return not start or _GENERATOR in start


class Report:
    """Collects the entries of a run in a temporary file, and writes the page when the block ends."""

    def __init__(self, summary: Summary, services: Services) -> None:
        """`services`: must be open until the page is written. Raises BatchError."""
        self._summary, self._services = summary, services
        self._path = Path(summary.options.report)
        self._entries = new_file(self._path)
        self._slots = asyncio.Semaphore(_PARALLEL)
        self._tasks: set[asyncio.Task[None]] = set()
        self._lengths: Counter[int] = Counter()
        self._tags: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        return self

    async def add(self, event: Event) -> None:
        """Add the entry of a caption or a failure. Waits while too many thumbnails are in progress."""
        if isinstance(event, Captioned | Failed):
            await self._slots.acquire()
            task = asyncio.create_task(self._add(event.row, event.image))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def __aexit__(self, *_: object) -> None:
        """Write the page, also after an interruption, if the run started. If that fails, the summary says so."""
        await asyncio.gather(*self._tasks)
        if self._summary.started is None:
            self._entries.close()
            return
        temporary = self._path.with_name(f".{self._path.name}.tmp")
        try:
            with self._entries, temporary.open("wb") as file:
                file.write(self._head().encode())
                self._entries.seek(0)
                shutil.copyfileobj(self._entries, file)
                file.write(_TAIL.encode())
            temporary.replace(self._path)
        except OSError as error:
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        self._summary.warnings[f"The report is not complete: {error.strerror} ({self._path})."] += 1

    async def _add(self, row: Row, image: str) -> None:
        try:
            thumbnail = await self._thumbnail(image)
            caption = row.caption or {}
            text = row.text or caption.get("rendered", "")
            if row.caption:
                lists = [value for value in caption["result"].values() if isinstance(value, list)]
                self._tags.update({item.lower() for items in lists for item in items if isinstance(item, str)})
                self._lengths[len(text.split())] += 1
            self._entries.write(_entry(row, text, thumbnail).encode())
        except OSError as error:
            self._warn(error)
        finally:
            self._slots.release()

    async def _thumbnail(self, url: str) -> str:
        """Return the thumbnail as a data URI, "" if there is none."""
        limits, decoder = self._services.limits, self._services.decoder
        with suppress(Exception):  # an unreadable image has an entry without a thumbnail
            source = from_upload((await load(ImageItem("", url), self._services)).data, limits)
            prepared = await prepare(source, _THUMBNAIL, resize=None, limits=limits, decoder=decoder)
            return f"data:image/jpeg;base64,{b64encode(prepared.image.data).decode()}"
        return ""

    def _head(self) -> str:
        tags = [(tag, count) for tag, count in self._tags.most_common(_TOP_TAGS) if count > 1]
        parts = {
            "policy": f"default-src 'none'; img-src data:; style-src {_hash('style')}; script-src {_hash('script')}",
            "names": _safe(", ".join(self._summary.started.perspectives) if self._summary.started else ""),
            "lines": "".join(f"<li>{_safe(line)}</li>" for line in self._summary.lines()),
            "charts": _chart("Length in words", _bins(self._lengths)) + _chart("Tags by number of images", tags),
        }
        return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _HEAD)


def _entry(row: Row, text: str, thumbnail: str) -> str:
    image = f'<img src="{thumbnail}" alt="" loading="lazy">' if thumbnail else "<span></span>"
    facts = [row.perspective, f"{row.seconds:.1f} s"]
    facts += [f"{row.output_tokens} tokens"] if row.output_tokens else []
    facts += [row.failure.code] if row.failure else []
    facts += (row.caption or {}).get("warnings", [])
    body = row.failure.message if row.failure else text
    return (
        f'<article class="{"failed" if row.failure else "done"}">{image}<div><b dir="auto">{_safe(row.key)}</b>'
        f'<p dir="auto">{_safe(body)}</p><small>{_safe(" · ".join(facts))}</small></div></article>\n'
    )


def _bins(lengths: Counter[int]) -> list[tuple[str, int]]:
    """Return how many lengths are in each of several ranges of equal width, from the shortest to the longest."""
    if not lengths:
        return []
    start, end = min(lengths), max(lengths) + 1
    width = (end - start) // _BARS + 1
    return [
        (f"{'from ' * (width > 1)}{n}", sum(lengths[m] for m in range(n, n + width))) for n in range(start, end, width)
    ]


def _chart(title: str, counts: list[tuple[str, int]]) -> str:
    """Return a bar chart."""
    most = max((count for _, count in counts), default=0)
    rows = "".join(
        f'<tr><td>{_safe(name[:24])}<td><meter max="{most}" value="{count}"></meter> {count}' for name, count in counts
    )
    return f"<section><h2>{title}</h2><table>{rows}</table></section>" if counts else ""


def _safe(text: str) -> str:
    line = printable(text)
    return escape(line if len(line) <= _MAX_TEXT else f"{line[:_MAX_TEXT]}…")


def _hash(tag: str) -> str:
    """Return the hash of this element of the page for the content security policy."""
    content = _PAGE.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
    return f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"
