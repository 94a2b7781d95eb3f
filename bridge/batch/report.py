"""Write the report of a run: one HTML page with thumbnails, captions, failures and histograms, which needs no network.

File names and captions come from others: each is escaped, and the page's content security policy allows no script but
its own.
"""

import asyncio
import shutil
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from html import escape
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, Self

from anyio import to_thread

from bridge.batch.inputs import read_image
from bridge.batch.models import Captioned, Event, Failed, Row
from bridge.batch.summary import Summary
from bridge.batch.text import printable
from bridge.images.decoder import DecoderPool
from bridge.images.limits import ImageLimits
from bridge.images.prepare import prepare
from bridge.images.sources import from_upload
from providers.profiles import ImageProfile

_THUMBNAIL = ImageProfile(frozenset({"image/jpeg"}), size=160, max_bytes=8192)
_PARALLEL = 2
_WAITING = 32
_BARS = 20
_TOP_TAGS = 40
_MAX_TEXT = 2000
_SECONDS = 20.0

_STYLE = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
_SCRIPT = Path(__file__).with_name("report.js").read_text(encoding="utf-8")


class Report:
    """Collects the entries in a temporary file while the run goes on, and writes the page when the block ends."""

    def __init__(self, summary: Summary, limits: ImageLimits, memory: int) -> None:
        """`limits`, `memory`: of the image worker that makes the thumbnails. Raises OSError."""
        self._summary, self._limits = summary, limits
        self._path = Path(summary.options.report)
        self._decoder = DecoderPool(_PARALLEL, memory, _SECONDS)
        self._entries = TemporaryFile(dir=self._path.parent)  # noqa: SIM115 (closed in __aexit__)
        self._queue: asyncio.Queue[Captioned | Failed] = asyncio.Queue(_WAITING)
        self._lengths: Counter[int] = Counter()
        self._tags: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._work()) for _ in range(_PARALLEL)]
        return self

    async def add(self, event: Event) -> None:
        """Add the entry of a caption or a failure. Waits while too many thumbnails are due."""
        if isinstance(event, Captioned | Failed):
            await self._queue.put(event)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the page, also after an interruption. If that fails, the summary says so."""
        if kind is None:
            await self._queue.join()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._decoder.aclose()
        with self._failing():
            self._write()
        self._entries.close()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._summary.warnings[f"The report is not complete: {error.strerror} ({self._path})."] += 1

    async def _work(self) -> None:
        while True:
            event = await self._queue.get()
            thumbnail = await self._thumbnail(event.image)
            with self._failing():
                self._add(event.row, thumbnail)
            self._queue.task_done()

    async def _thumbnail(self, url: str) -> str:
        """Return the thumbnail as a data URI, "" if there is none."""
        with suppress(Exception):  # an unreadable image has an entry without a thumbnail
            data = await to_thread.run_sync(read_image, url, self._limits.max_bytes)
            source = from_upload(data, self._limits)
            prepared = await prepare(source, _THUMBNAIL, resize=None, limits=self._limits, decoder=self._decoder)
            return f"data:image/jpeg;base64,{b64encode(prepared.image.data).decode()}"
        return ""

    def _add(self, row: Row, thumbnail: str) -> None:
        caption = row.caption or {}
        text = row.text or caption.get("rendered", "")
        if row.failure is None:
            self._lengths[len(text.split())] += 1
            self._tags.update(set(_tags(caption.get("result"))))
        self._entries.write(_entry(row, text, thumbnail).encode())

    def _write(self) -> None:
        temporary = self._path.with_name(f".{self._path.name}.tmp")
        with temporary.open("wb") as file:
            file.write(self._head().encode())
            self._entries.seek(0)
            shutil.copyfileobj(self._entries, file)
            file.write(f"</div><script>{_SCRIPT}</script></html>\n".encode())
        temporary.replace(self._path)

    def _head(self) -> str:
        policy = f"default-src 'none'; img-src data:; style-src '{_hash(_STYLE)}'; script-src '{_hash(_SCRIPT)}'"
        names = ", ".join(self._summary.started.perspectives) if self._summary.started else ""
        tags = [(tag, count) for tag, count in self._tags.most_common(_TOP_TAGS) if count > 1]
        lines = "".join(f"<li>{_safe(line.strip())}</li>" for line in self._summary.lines())
        return (
            '<!doctype html><html lang="en"><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
            '<meta name="viewport" content="width=device-width"><title>Captions</title>'
            f"<style>{_STYLE}</style><h1>Captions: {_safe(names)}</h1><ul>{lines}</ul>"
            f'<div id="charts">{_chart("Length in words", _bins(self._lengths))}'
            f"{_chart('Tags by number of images', tags)}</div>"
            '<h2>Images</h2><input type="search" placeholder="Filter by name, text or error code" aria-label="Filter"> '
            '<output></output><div id="rows">'
        )


def _entry(row: Row, text: str, thumbnail: str) -> str:
    image = f'<img src="{thumbnail}" alt="" loading="lazy">' if thumbnail else "<span></span>"
    facts = [row.perspective, f"{row.seconds:.1f} s"]
    facts += [f"{row.output_tokens} tokens"] if row.output_tokens else []
    facts += [row.failure.code] if row.failure else []
    facts += (row.caption or {}).get("warnings", [])
    body = row.failure.message if row.failure else text
    return (
        f'<article{" class=failed" if row.failure else ""}>{image}<div><b dir="auto">{_safe(row.key)}</b>'
        f'<p dir="auto">{_safe(body)}</p><small>{_safe(" · ".join(facts))}</small></div></article>\n'
    )


def _tags(value: Any) -> Iterator[str]:
    """Yield the short texts in the lists of a result."""
    if isinstance(value, dict):
        for item in value.values():
            yield from _tags(item)
    elif isinstance(value, list):
        yield from (item.strip().lower() for item in value if isinstance(item, str) and item.strip())


def _bins(lengths: Counter[int]) -> list[tuple[str, int]]:
    """Return the counts by ranges of equal width, from the shortest length to the longest."""
    if not lengths:
        return []
    start = min(lengths)
    width = (max(lengths) - start) // _BARS + 1
    counts = Counter(dict.fromkeys(range((max(lengths) - start) // width + 1), 0))
    for length, count in lengths.items():
        counts[(length - start) // width] += count
    return [(f"from {start + number * width}", count) for number, count in counts.items()]


def _chart(title: str, counts: list[tuple[str, int]]) -> str:
    """Return a bar chart as SVG."""
    if not counts:
        return ""
    most = max(count for _, count in counts)
    bars = "".join(
        f'<text x="150" y="{y + 11}" text-anchor="end">{_safe(name[:24])}</text>'
        f'<rect x="156" y="{y + 1}" width="{250 * count / most:.1f}" height="12"/>'
        f'<text x="{160 + 250 * count / most:.1f}" y="{y + 11}">{count}</text>'
        for y, (name, count) in zip(range(0, 16 * len(counts), 16), counts, strict=True)
    )
    return f'<section><h2>{title}</h2><svg viewBox="0 0 460 {16 * len(counts)}" role="img">{bars}</svg></section>'


def _safe(text: str) -> str:
    line = printable(text)
    return escape(line if len(line) <= _MAX_TEXT else f"{line[:_MAX_TEXT]}…")


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
