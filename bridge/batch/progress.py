"""Show the events of a run: a display on a terminal, lines elsewhere, and JSON on standard output."""

import asyncio
import dataclasses
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from io import UnsupportedOperation
from select import PIPE_BUF, select
from typing import TYPE_CHECKING, Any, TextIO

from bridge.batch.models import Actors, Captioned, Event, Failed, Paused, Resumed, Started, Waiting
from bridge.batch.report import Report
from bridge.batch.summary import Summary, duration, money, tokens
from bridge.batch.text import count, printable
from providers.base import JsonObject

if TYPE_CHECKING:
    from rich.console import RenderableType

LINE_SECONDS = 30.0
_BAR_WIDTH = 60
_POLL_SECONDS = 0.02
"""Time between two attempts to write while a reader is slow."""
_WAITS = {
    "": "free",
    "image": "loading an image",
    "import": "importing the provider's library",
    "queued": "in the provider's queue",
    "model": "waiting for the model",
    "retry": "calling again",
    "fallback": "calling the fallback",
    "validate": "checking the answer",
}


class Display:
    """The state of a run in progress, as lines."""

    def __init__(self, summary: Summary) -> None:
        self._summary = summary
        self._start = 0.0
        self._waits: dict[int, str] = {}
        self._actors = ""
        self._pause = ""
        self._last = ""

    def update(self, event: Event) -> None:
        """Store what the display shows of an event: a worker's wait, actors, a pause, a caption or a failure."""
        if isinstance(event, Started):
            self._start = time.monotonic()
        elif isinstance(event, Waiting):
            self._waits[event.worker] = event.reason
        elif isinstance(event, Actors):
            counts = [f"{event.ready} of {sum(_fields(event).values())} actors ready"]
            counts += [f"{event.pending} starting or waiting for CPUs"] if event.pending else []
            counts += [f"{event.restarting} restarting"] if event.restarting else []
            self._actors = ", ".join(counts)
        elif isinstance(event, Paused | Resumed):
            self._pause = printable(f"Paused: {event.reason}") if isinstance(event, Paused) else ""
        elif isinstance(event, Captioned):
            self._last = printable(f"{event.row.key}: {event.row.text}")
        elif isinstance(event, Failed) and event.row.failure is not None:
            self._last = printable(f"{event.row.key}: {event.row.failure.code}: {event.row.failure.message}")

    def lines(self) -> list[str]:
        """Return the position, the counts, what the workers or actors wait for, and the last caption."""
        waiting = self._pause or self._actors or self._waiting()
        return [self._position(), self._counts(), *filter(None, (waiting, self._last))]

    def render(self) -> "RenderableType":
        """Return what the terminal shows now: a bar and the lines, each cut to the width of the terminal."""
        from rich.console import Group
        from rich.padding import Padding
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        total = self._summary.started.total if self._summary.started else None
        bar = Padding(ProgressBar(total or None, self._summary.done, width=_BAR_WIDTH), 0, expand=False)
        *lines, last = (Text(line) for line in self.lines())
        last.no_wrap, last.overflow = True, "ellipsis"
        return Group(bar, *lines, last)

    def _position(self) -> str:
        started, totals = self._summary.started, self._summary.totals
        if started is None:
            return "Listing the images"
        position = f"{self._summary.done:,} of {started.total:,}"
        tried, seconds = totals.captioned + totals.failed, time.monotonic() - self._start
        if not tried or not seconds:
            return position
        images = tried / max(len(started.perspectives), 1) / seconds
        left = duration((started.total - self._summary.done) * seconds / tried)
        return f"{position}, {images:.3g} images/s, {left} left"

    def _counts(self) -> str:
        reasks, totals = self._summary.reasks, self._summary.totals
        repeats, cost = count(reasks, "re-ask") if reasks else "", money(totals.cost) if totals.cost else ""
        return ", ".join(filter(None, [*totals.counts(), repeats, tokens(totals), cost]))

    def _waiting(self) -> str:
        counts = Counter(_WAITS.get(reason, reason) for reason in list(self._waits.values()))
        return ", ".join(f"{number} {what}" for what, number in counts.most_common())


async def follow(
    events: AsyncIterator[Event],
    summary: Summary,
    report: Report | None = None,
    *,
    stop: Callable[[], None],
    seconds: float = LINE_SECONDS,
    out: TextIO | None = None,
) -> None:
    """Read the events of a run until it ends. Show them, count them in `summary` and add them to `report`.

    `stop`: ends the run after the calls in flight. `seconds`: time between two lines if standard error is not a
    terminal. `out`: for the JSON, by default sys.stdout. If it cannot be written, the run is stopped, and the OSError
    is raised after its end.
    """
    display, unwritable = Display(summary), None
    async with report or nullcontext(), _shown(display, seconds):
        async for event in events:
            summary.update(event)
            display.update(event)
            if summary.options.json_events and unwritable is None:
                try:
                    await _print_json(event, out or sys.stdout)
                except OSError as error:
                    unwritable = error
                    stop()
            if report is not None:
                await report.add(event)
    if unwritable is not None:
        raise unwritable


@asynccontextmanager
async def _shown(display: Display, seconds: float) -> AsyncIterator[None]:
    """Show the display while the block runs."""
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from rich.console import Console
        from rich.live import Live

        with Live(
            console=Console(stderr=True),
            get_renderable=display.render,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
        ):
            yield
    else:
        lines = asyncio.create_task(_print_lines(display, seconds))
        try:
            yield
        finally:
            lines.cancel()
            await asyncio.gather(lines, return_exceptions=True)


async def _print_lines(display: Display, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        sys.stderr.write(f"{'; '.join(display.lines())}\n")
        sys.stderr.flush()


async def _print_json(event: Event, out: TextIO) -> None:
    """Print an event in one line. Escapes keep file names that are not Unicode. A slow reader blocks no other task."""
    line = f"{json.dumps({'type': type(event).__name__.lower(), **_fields(event)}, default=_fields)}\n"
    for start in range(0, len(line), PIPE_BUF):
        while not _is_writable(out):  # noqa: ASYNC110 (`add_writer` of uvloop makes the pipe non-blocking)
            await asyncio.sleep(_POLL_SECONDS)
        out.write(line[start : start + PIPE_BUF])
        out.flush()


def _is_writable(out: TextIO) -> bool:
    """Return whether PIPE_BUF bytes can be written without waiting for a reader."""
    try:
        return bool(select([], [out], [], 0)[1])
    except UnsupportedOperation:  # not a file
        return True


def _fields(value: Any) -> JsonObject:
    """Return the fields of a dataclass. `dataclasses.asdict` would also copy their values, for 0.2 ms."""
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
